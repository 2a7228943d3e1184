#!/usr/bin/perl
# Many jobs at once: perl tasks.pl
use strict;
use warnings;
use Gearman::Client;
use Storable 'thaw';

my $client = Gearman::Client->new(job_servers => ['127.0.0.1:4730'], exceptions => 1);
my $tasks  = $client->new_task_set;

for my $numbers ('1 1', '20 22', '1 two') {
    $tasks->add_task(sum => $numbers, {
        on_complete  => sub { print "$numbers: ${ $_[0] }\n" },
        on_fail      => sub { print "$numbers failed\n" },
        # Perl's worker has frozen it.
        on_exception => sub { print "$numbers: ${ thaw($_[0]) }" },
    });
}
$tasks->add_task(count => 2, {
    on_status   => sub { print "count: $_[0] of $_[1]\n" },
    on_complete => sub { print "count: ${ $_[0] }\n" },
});

# They are submitted when they are added; this waits for all of them, ten seconds at most.
$tasks->wait(timeout => 10);
