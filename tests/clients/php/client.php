<?php
/*
 * What the tests ask of a PHP client.
 *
 *     php client.php PORT SCENARIO [ARGUMENT...]
 *
 * Each scenario prints what the client saw as JSON.
 */

function connected(bool $exceptions = true): GearmanClient {
    global $argv;
    $client = new GearmanClient();
    $client->addServer('127.0.0.1', (int) $argv[1], $exceptions);
    $client->setTimeout(15000);
    return $client;
}

function named(int $code): string {
    foreach (['SUCCESS', 'WORK_DATA', 'WORK_WARNING', 'WORK_STATUS', 'WORK_EXCEPTION', 'WORK_FAIL', 'TIMEOUT'] as $name) {
        if (constant("GEARMAN_$name") == $code) {
            return $name;
        }
    }
    return "code $code";
}

/* Runs one job to its end and returns everything that came of it. */
function watched(GearmanClient $client, string $function, string $workload): array {
    $events = [];
    do {
        $result = @$client->doNormal($function, $workload);
        $code = $client->returnCode();
        $event = [named($code)];
        if ($code == GEARMAN_WORK_STATUS) {
            $event[] = $client->doStatus();
        } elseif ($result !== '' && $result !== null && $result !== false) {
            $event[] = $result;
        }
        $events[] = $event;
    } while (in_array($code, [GEARMAN_WORK_DATA, GEARMAN_WORK_WARNING, GEARMAN_WORK_STATUS]));
    return $events;
}

/* Sets every callback there is; each appends what it was called with. */
function recorded(GearmanClient $client, array &$events): void {
    $record = function (string $event) use (&$events) {
        return function (GearmanTask $task, $context = null) use ($event, &$events) {
            $seen = [$event, $context, $task->functionName()];
            if ($event == 'created') {
                $seen[] = $task->unique();
                $seen[] = $task->jobHandle();
            } elseif ($event == 'status') {
                $seen[] = [$task->isKnown(), $task->isRunning(), $task->taskNumerator(), $task->taskDenominator()];
            } elseif ($event != 'fail') {
                $seen[] = $task->data();
            }
            $events[] = $seen;
        };
    };
    $client->setCreatedCallback($record('created'));
    $client->setDataCallback($record('data'));
    $client->setWarningCallback($record('warning'));
    $client->setStatusCallback($record('status'));
    $client->setCompleteCallback($record('complete'));
    $client->setExceptionCallback($record('exception'));
    $client->setFailCallback($record('fail'));
}

$scenarios = [
    'priorities' => function () {
        $client = connected();
        return [$client->doNormal('reverse', 'normal'), $client->doHigh('reverse', 'high'), $client->doLow('reverse', 'low')];
    },

    'bytes' => function () {
        $client = connected();
        $bytes = implode(array_map('chr', range(0, 255)));
        $large = str_repeat('0123456789', 100000);
        return [
            $client->doNormal('reverse', $bytes) === strrev($bytes),
            $client->doNormal('reverse', $large) === strrev($large),
            $client->doNormal('empty', 'something') === '' && $client->returnCode() == GEARMAN_SUCCESS,
        ];
    },

    'inspect' => function () {
        $client = connected();
        return [
            json_decode($client->doNormal('inspect', 'four', 'my-unique')),
            json_decode($client->doNormal('inspect', 'four')),
        ];
    },

    'progress' => function () {
        return watched(connected(), 'progress', 'x');
    },

    'ends' => function () {
        $ends = [];
        foreach (['explicit', 'fail', 'wrong', 'reverse'] as $function) {
            $ends[$function] = watched(connected(), $function, 'abc');
        }
        return $ends;
    },

    'exceptions' => function () {
        $without = connected(false);
        $without->setTimeout(4000);
        $later = connected(false);
        $later->enableExceptionHandler();
        return [
            watched(connected(true), 'exception', 'x'),
            watched($without, 'exception', 'x'),
            watched($later, 'exception', 'x'),
            watched(connected(), 'reverse', 'abc'),
        ];
    },

    'background' => function () {
        $client = connected();
        $handles = [
            $client->doBackground('f', 'normal,', 'u-normal'),
            $client->doLowBackground('f', 'low,', 'u-low'),
            $client->doHighBackground('f', 'high,', 'u-high'),
        ];
        return [$handles, array_map([$client, 'jobStatus'], $handles), $client->jobStatus('H:nowhere:1')];
    },

    'status' => function ($handle, $unique) {
        $client = connected();
        $events = [];
        recorded($client, $events);
        $client->addTaskStatus($handle, 'asked');
        $client->runTasks();
        return [$client->jobStatus($handle), $client->jobStatusByUniqueKey($unique), $client->jobStatusByUniqueKey('nobody'), $events];
    },

    'tasks' => function () {
        $client = connected();
        $events = [];
        recorded($client, $events);
        $client->addTask('reverse', 'abc', 'normal', 'u1');
        $client->addTaskHigh('progress', 'x', 'high', 'u2');
        $client->addTaskLow('fail', 'x', 'low', 'u3');
        $client->addTask('exception', 'x', 'exception', 'u4');
        $ran = @$client->runTasks();
        return [$ran, $events];
    },

    'twins' => function () {
        $client = connected();
        $events = [];
        recorded($client, $events);
        $client->addTask('reverse', 'abc', 'one', 'same');
        $client->addTask('reverse', 'abc', 'two', 'same');
        $client->addTask('reverse', 'abc', 'three', 'other');
        $client->runTasks();
        return $events;
    },

    'backgroundtasks' => function () {
        $client = connected();
        $events = [];
        recorded($client, $events);
        $client->addTaskBackground('f', 'normal,', 'normal', 'u1');
        $client->addTaskLowBackground('f', 'low,', 'low', 'u2');
        $client->addTaskHighBackground('f', 'high,', 'high', 'u3');
        $client->runTasks();
        return $events;
    },

    'ping' => function () {
        $client = connected();
        $worker = new GearmanWorker();
        global $argv;
        $worker->addServer('127.0.0.1', (int) $argv[1]);
        return [$client->ping("any\0thing"), $client->ping(str_repeat('x', 50000)), $worker->ping('worker')];
    },

    'timeout' => function () {
        $client = connected();
        $client->setTimeout(100);
        @$client->doNormal('nobody', 'x');
        return named($client->returnCode());
    },
];

echo json_encode($scenarios[$argv[2]](...array_slice($argv, 3))), "\n";
