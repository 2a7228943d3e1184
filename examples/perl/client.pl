#!/usr/bin/perl
# A client that waits: perl client.pl
use strict;
use warnings;
use Gearman::Client;

my $client = Gearman::Client->new(job_servers => ['127.0.0.1:4730']);

# Seconds; without it, a job that nobody can do is waited for without end.
my $result = $client->do_task(sum => '1 2 3', { timeout => 10 });
die "no result\n" unless $result;
print "$$result\n";
