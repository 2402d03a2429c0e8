//! The command line as a person or a script uses it: the real binary in an environment of its own,
//! its whole output and exit code. Nothing here boots a machine or uses the network; runs are made
//! up ([`story`]).

#[cfg(test)]
mod harness;
#[cfg(test)]
mod served;
#[cfg(test)]
mod story;
#[cfg(test)]
mod terminal;

#[cfg(test)]
mod accept;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod axes;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod bundle;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod check;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod fetched;
#[cfg(test)]
mod files;
#[cfg(test)]
mod history;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod latest;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod list;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod nightly;
#[cfg(test)]
mod output;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod own;
#[cfg(test)]
mod places;
#[cfg(test)]
mod pull_lab;
#[cfg(test)]
mod pull_requests;
#[cfg(test)]
mod qemu;
#[cfg(test)]
mod report;
#[cfg(test)]
mod report_cache;
#[cfg(test)]
mod review;
#[cfg(test)]
mod run;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod textconv;
