#!/usr/bin/perl
# What the tests ask of a Perl client.
#
#     perl client.pl PORT SCENARIO [ARGUMENT...]
#
# Each scenario prints what the client saw as JSON.

use strict;
use warnings;

use Gearman::Client;
use Gearman::Task;
use JSON::PP;

my ($port, $scenario, @arguments) = @ARGV;

sub connected {
    return Gearman::Client->new(job_servers => ["127.0.0.1:$port"], command_timeout => 15, @_);
}

# The result of a task, or undef.
sub result {
    my $reference = shift;
    return $reference ? $$reference : undef;
}

# Callbacks that append what they are called with.
sub recorded {
    my ($name, $events) = @_;
    return (
        on_complete  => sub { push @$events, [$name, 'complete',  ${ $_[0] }] },
        on_fail      => sub { push @$events, [$name, 'fail'] },
        on_retry     => sub { push @$events, [$name, 'retry',     $_[0]] },
        on_status    => sub { push @$events, [$name, 'status',    $_[0], $_[1]] },
        on_data      => sub { push @$events, [$name, 'data',      ${ $_[0] }] },
        on_warning   => sub { push @$events, [$name, 'warning',   ${ $_[0] }] },
        on_exception => sub { push @$events, [$name, 'exception', $_[0]] },
    );
}

# Runs one task to its end and returns everything that came of it.
sub watched {
    my ($client, $function, $argument, %options) = @_;
    my @events;
    $client->do_task($function => $argument, { timeout => 15, recorded($function, \@events), %options });
    return \@events;
}

sub status {
    my ($client, $handle) = @_;
    my $status = $client->get_status($handle);
    return [map { $_ ? 1 : 0 } $status->known, $status->running], $status->progress, $status->percent;
}

my %scenarios = (
    results => sub {
        my $client = connected();
        my $bytes  = join '', map { chr } 0 .. 255;
        my $large  = '0123456789' x 100_000;
        return [
            result($client->do_task(reverse => 'normal', { timeout => 15 })),
            result($client->do_task(reverse => 'high', { timeout => 15, priority => 'high' })),
            result($client->do_task(reverse => 'low', { timeout => 15, priority => 'low' })),
            result($client->do_task(Gearman::Task->new('reverse', \'task', { timeout => 15 }))),
            result($client->do_task(reverse => $bytes, { timeout => 15 })) eq reverse($bytes) ? 1 : 0,
            result($client->do_task(reverse => $large, { timeout => 15 })) eq reverse($large) ? 1 : 0,
        ];
    },

    falsehoods => sub {
        my $client = connected();
        return [map { watched($client, @$_) } ['empty', 'x'], ['zero', 'x'], ['reverse', 'abc']];
    },

    progress => sub { return watched(connected(), 'progress', 'x') },

    fail => sub {
        my $client = connected();
        return [watched($client, 'fail', 'x'), watched($client, 'fail', 'x', retry_count => 2), watched($client, 'reverse', 'abc')];
    },

    exceptions => sub {
        my $asking = connected(exceptions => 1);
        my @events;
        my $set = $asking->new_task_set;
        $set->add_task(die => 'x', { recorded('die', \@events) });
        $set->wait(timeout => 15);
        return \@events;
    },

    unasked => sub { return watched(connected(), 'die', 'x') },

    taskset => sub {
        my $client = connected();
        my @events;
        my $set = $client->new_task_set;
        my @handles = map { $set->add_task(@$_) } (
            [reverse  => 'abc', { recorded('reverse',  \@events) }],
            [progress => 'x',   { recorded('progress', \@events), priority => 'high' }],
            [fail     => 'x',   { recorded('fail',     \@events), retry_count => 1 }],
            [reverse  => 'twin', { recorded('one',     \@events), uniq => 'same' }],
            [reverse  => 'twin', { recorded('two',     \@events), uniq => 'same' }],
        );
        $set->wait(timeout => 15);
        return [\@handles, \@events];
    },

    background => sub {
        my $client  = connected();
        my @handles = map { $client->dispatch_background(@$_) } (
            ['f', 'normal,', {}], ['f', 'low,', { priority => 'low' }], ['f', 'high,', { priority => 'high' }],
        );
        return [\@handles, [map { [status($client, $_)] } @handles], [status($client, "127.0.0.1:$port//H:nowhere:1")]];
    },

    coalescing => sub {
        my $client = connected();
        my @jobs = (['a', 'u'], ['b', 'u'], ['a', 'v'], ['a', '-'], ['a', '-'], ['b', '-']);
        return [map { $client->dispatch_background('f', $_->[0], { uniq => $_->[1] }) } @jobs];
    },

    status => sub { return [status(connected(), "127.0.0.1:$port//$arguments[0]")] },

    servers => sub {
        my $status = connected()->get_job_server_status;
        return $status->{"127.0.0.1:$port"};
    },

    prefix => sub { return result(connected(prefix => $arguments[0])->do_task(reverse => 'abc', { timeout => 15 })) },

    timeout => sub { return watched(connected(), 'nobody', 'x', timeout => 0.2) },

    do => sub { return result(connected()->do_task($arguments[0] => $arguments[1], { timeout => 15 })) },
);

print JSON::PP->new->allow_nonref->canonical->encode($scenarios{$scenario}->()), "\n";
