<?php
// A client that waits: php client.php

$client = new GearmanClient();
$client->addServer('127.0.0.1', 4730);
// Milliseconds; without it, a job that nobody can do is waited for without end.
$client->setTimeout(10_000);

$result = $client->doNormal('reverse', 'Hello World!');
if ($client->returnCode() != GEARMAN_SUCCESS) {
    fwrite(STDERR, "no result: {$client->error()}\n");
    exit(1);
}
echo "$result\n";
