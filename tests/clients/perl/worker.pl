#!/usr/bin/perl
# A worker for the tests of Perl clients.
#
#     perl worker.pl PORT [PREFIX]
#
# It prints a line of JSON for every job that it has ended.

use strict;
use warnings;

use Gearman::Worker;
use JSON::PP;

$| = 1;
my ($port, $prefix) = @ARGV;
my $worker = Gearman::Worker->new(
    job_servers => ["127.0.0.1:$port"],
    client_id   => 'perl-worker-7',
    defined $prefix ? (prefix => $prefix) : (),
);

my %functions = (
    reverse => sub { return scalar reverse $_[0]->arg },
    empty   => sub { return '' },
    zero    => sub { return 0 },
    fail    => sub { return undef },
    die     => sub { die "it broke\n" },
    progress => sub {
        my $job = shift;
        $job->set_status(1, 4);
        $worker->send_work_data($job, 'first part');
        $worker->send_work_warning($job, 'careful');
        $job->set_status(3, 4);
        return 'the end';
    },
    hold => sub {
        my $job = shift;
        $job->set_status(2, 5);
        select undef, undef, undef, 0.01 until -e $job->arg;
        return 'released';
    },
);

$worker->register_function($_ => $functions{$_}) for sort keys %functions;
$worker->register_function(slow => 1000, sub { sleep 1000; return 'late' });
$worker->register_function(leave => sub { $worker->unregister_function('fail'); return 'left' });
$worker->register_function(forget => sub { $worker->reset_abilities; return 'forgotten' });

sub report { print JSON::PP->new->encode([@_]), "\n" }

$worker->work(
    on_complete => sub { report('complete') },
    on_fail     => sub { report('fail', $_[1] || '') },
);
