<?php
// A job that nobody waits for: php background.php NUMBER

$client = new GearmanClient();
$client->addServer('127.0.0.1', 4730);

// The third argument is the unique id: who asks for the same again gets the same job.
$handle = $client->doBackground('count', $argv[1], "count-to-$argv[1]");
if ($client->returnCode() != GEARMAN_SUCCESS) {
    fwrite(STDERR, "not accepted: {$client->error()}\n");
    exit(1);
}
do {
    usleep(50_000);
    [$known, $running, $numerator, $denominator] = $client->jobStatus($handle);
} while ($known && $numerator < 2);
echo $known ? "$numerator of $denominator\n" : "it is over\n";
