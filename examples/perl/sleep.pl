#!/usr/bin/perl
# A worker that sleeps as many seconds as a job says: perl sleep.pl MILLISECONDS
# The argument is the time-out that it tells the server.
use strict;
use warnings;
use Gearman::Worker;

$| = 1;
my $worker = Gearman::Worker->new(job_servers => ['127.0.0.1:4730']);
$worker->register_function(sleep => $ARGV[0], sub {
    my $job = shift;
    print "a worker begins\n";
    select undef, undef, undef, $job->arg;
    print "a worker is done\n";
    return 'slept';
});
$worker->work;
