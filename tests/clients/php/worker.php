<?php
/*
 * A worker for the tests of PHP clients, and the ways in which PHP workers wait.
 *
 *     php worker.php PORT serve|id|timeout|nonblocking|unregister|grab|slow
 *
 * Whatever the server shall have seen of it is asserted by the Python test;
 * what only the worker sees it prints as one line of JSON.
 */

$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) $argv[1]);

function report($value) {
    echo json_encode($value), "\n";
}

$functions = [
    'reverse' => function (GearmanJob $job) {
        return strrev($job->workload());
    },
    'empty' => function (GearmanJob $job) {
        return '';
    },
    'inspect' => function (GearmanJob $job) {
        return json_encode([$job->functionName(), $job->unique(), $job->handle(), $job->workloadSize()]);
    },
    'progress' => function (GearmanJob $job) {
        $job->sendStatus(1, 4);
        $job->sendData('first part');
        $job->sendWarning('careful');
        $job->sendStatus(3, 4);
        $job->sendData('second part');
        return 'the end';
    },
    'explicit' => function (GearmanJob $job) {
        $job->sendComplete('completed by hand');
    },
    'fail' => function (GearmanJob $job) {
        $job->sendFail();
    },
    'wrong' => function (GearmanJob $job) {
        $job->setReturn(GEARMAN_WORK_FAIL);
    },
    'exception' => function (GearmanJob $job) {
        $job->sendException('it broke');
    },
    'hold' => function (GearmanJob $job) {
        $job->sendStatus(2, 5);
        while (!file_exists($job->workload())) {
            usleep(10000);
        }
        return 'released';
    },
];

switch ($argv[2]) {
    case 'serve':
        foreach ($functions as $name => $function) {
            $worker->addFunction($name, $function);
        }
        while ($worker->work() || $worker->returnCode() == GEARMAN_WORK_FAIL || $worker->returnCode() == GEARMAN_WORK_EXCEPTION);
        report(['ended', $worker->returnCode(), $worker->error()]);
        break;

    case 'id':
        $worker->setId('php-worker-7');
        $worker->addFunction('reverse', $functions['reverse']);
        while ($worker->work());
        break;

    case 'timeout':
        $worker->addFunction('reverse', $functions['reverse']);
        $worker->setTimeout(100);
        $idle = $worker->work();
        report([$idle, $worker->returnCode() == GEARMAN_TIMEOUT]);
        $worker->setTimeout(15000);
        $worker->work();
        report($worker->returnCode() == GEARMAN_SUCCESS);
        break;

    case 'nonblocking':
        $worker->addOptions(GEARMAN_WORKER_NON_BLOCKING);
        $worker->setTimeout(15000);
        $worker->addFunction('reverse', $functions['reverse']);
        $seen = [];
        while (!@$worker->work()) {
            $code = $worker->returnCode();
            $seen[$code] = true;
            if ($code == GEARMAN_IO_WAIT || $code == GEARMAN_NO_JOBS) {
                $worker->wait();
            } else {
                break;
            }
        }
        report([array_keys($seen), $worker->returnCode() == GEARMAN_SUCCESS]);
        break;

    case 'unregister':
        foreach (['reverse', 'empty', 'fail'] as $name) {
            $worker->addFunction($name, $functions[$name]);
        }
        $worker->unregister('empty');
        $worker->work();
        $worker->setTimeout(100);
        $worker->work();
        $worker->unregisterAll();
        @$worker->work();
        report($worker->returnCode() == GEARMAN_NO_REGISTERED_FUNCTIONS);
        sleep(1000);
        break;

    case 'grab':
        $worker->register('reverse');
        do {
            $job = @$worker->grabJob();
            if ($worker->returnCode() == GEARMAN_NO_JOBS) {
                usleep(10000);
            }
        } while (!($job instanceof GearmanJob) || $worker->returnCode() != GEARMAN_SUCCESS);
        $job->sendComplete(strrev($job->workload()));
        report('done');
        break;

    case 'slow':
        $worker->addFunction('reverse', function (GearmanJob $job) {
            sleep(1000);
        }, null, 1);
        $worker->work();
        break;
}
