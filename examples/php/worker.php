<?php
// A worker: php worker.php

$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', 4730);
$worker->addFunction('reverse', 'reverse');
$worker->addFunction('divide', 'divide');
$worker->addFunction('count', 'count_slowly');

function reverse(GearmanJob $job)
{
    return strrev($job->workload());
}

function divide(GearmanJob $job)
{
    [$dividend, $divisor] = json_decode($job->workload());
    if ($divisor == 0) {
        $job->sendException('nothing can be divided by 0');
        return;
    }
    return json_encode($dividend / $divisor);
}

function count_slowly(GearmanJob $job)
{
    $number = (int) $job->workload();
    for ($done = 1; $done <= $number; $done++) {
        usleep(100_000);
        $job->sendData("$done ");
        $job->sendStatus($done, $number);
    }
    return 'and that is all';
}

while (true) {
    // It is false after a job that failed, too, and while the server cannot be reached.
    if (!@$worker->work()) {
        switch ($worker->returnCode()) {
            case GEARMAN_WORK_FAIL:
            case GEARMAN_WORK_EXCEPTION:
                break;
            default:
                sleep(1);
        }
    }
}
