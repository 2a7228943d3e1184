#!/usr/bin/perl
# A worker: perl worker.pl
use strict;
use warnings;
use Gearman::Worker;

my $worker = Gearman::Worker->new(job_servers => ['127.0.0.1:4730']);

$worker->register_function(sum => sub {
    my $job = shift;
    my $sum = 0;
    for my $number (split ' ', $job->arg) {
        # What dies here is an exception for the client.
        die "$number is no number\n" unless $number =~ /^-?\d+$/;
        $sum += $number;
    }
    return $sum;
});

$worker->register_function(count => sub {
    my $job = shift;
    for my $done (1 .. $job->arg) {
        select undef, undef, undef, 0.1;
        $job->set_status($done, $job->arg);
    }
    return 'and that is all';
});

# It returns only where it is told to stop, and connects again by itself.
$worker->work;
