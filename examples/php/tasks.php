<?php
// Many jobs at once: php tasks.php

$client = new GearmanClient();
$client->addServer('127.0.0.1', 4730);

$client->setDataCallback(function (GearmanTask $task) {
    echo "{$task->functionName()}: {$task->data()}\n";
});
$client->setStatusCallback(function (GearmanTask $task) {
    echo "{$task->functionName()}: {$task->taskNumerator()} of {$task->taskDenominator()}\n";
});
$client->setCompleteCallback(function (GearmanTask $task) {
    echo "{$task->functionName()} is done: {$task->data()}\n";
});
$client->setExceptionCallback(function (GearmanTask $task) {
    echo "{$task->functionName()}: {$task->data()}\n";
});
$client->setFailCallback(function (GearmanTask $task) {
    echo "{$task->functionName()} failed\n";
});

$client->addTask('count', '2');
$client->addTaskHigh('reverse', 'Hello World!');
$client->addTask('divide', '[1, 0]');
// Nothing was submitted before this, and it returns when all of them are done.
$client->runTasks();
