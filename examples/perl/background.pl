#!/usr/bin/perl
# A job that nobody waits for: perl background.pl NUMBER
use strict;
use warnings;
use Gearman::Client;

my $client = Gearman::Client->new(job_servers => ['127.0.0.1:4730']);

# Who asks for the same unique id gets the same job.
my $handle = $client->dispatch_background(count => $ARGV[0], { uniq => "count-to-$ARGV[0]" });
die "not accepted\n" unless $handle;

my $status;
do {
    select undef, undef, undef, 0.05;
    $status = $client->get_status($handle);
} while ($status->known && (!$status->progress || $status->progress->[0] < 2));
print $status->known ? join(' of ', @{ $status->progress }) . "\n" : "it is over\n";
