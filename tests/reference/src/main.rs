// SPDX-License-Identifier: GPL-2.0

//! Compares what a kqueue does with what the model says that it does, in random sequences of calls.
//! Prints TAP. A sequence that differs is made as small as it can be, and shown.
//!
//! In the environment:
//!
//! - `REFERENCE_CASES`: how many sequences there are, 10000 by default
//! - `REFERENCE_SEED`: the number that they are made from, if not always the same one
//! - `REFERENCE_ABOUT`: the name of the one test that is to be run

mod machine;

use machine::Machine;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use reference::{
    call::{Answer, Call, Expected},
    generate::{sequence, About, Sequence},
    world::World,
};
use std::{cell::RefCell, env, time::Instant};

/// Steps of a sequence, at most.
const STEPS: usize = 40;

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    sequences: u64,
    calls: u64,
    events: u64,
    errors: u64,
}

/// Runs a sequence. What was done in it, and how that differs, if it does.
fn run(
    machine: &mut Machine,
    sequence: &Sequence,
    seen: &mut Seen,
    trace: &mut Vec<(Call, Answer)>,
) -> Result<(), Expected> {
    let mut world = World::default();
    machine.reset();
    trace.clear();
    seen.sequences += 1;
    let first = Some(Call::Kqueue(sequence.flavour));
    let mut steps = sequence.steps.iter();
    let mut next = first;
    loop {
        if let Some(call) = next {
            let answer = machine.call(&call);
            let expected = world.call(&call, &answer);
            let same = expected.matches(&answer);
            seen.calls += 1;
            match &answer {
                Answer::Events(events) => seen.events += events.len() as u64,
                Answer::Errno(_) => seen.errors += 1,
                _ => {}
            }
            trace.push((call, answer));
            if !same {
                return Err(expected);
            }
        }
        let Some(step) = steps.next() else {
            return Ok(());
        };
        next = step.call(&world);
    }
}

fn show(trace: &[(Call, Answer)], expected: &Expected) {
    for (call, answer) in trace {
        match call {
            Call::Kevent {
                kq,
                changes,
                room,
                writable,
            } => {
                let nowhere = if *writable { "" } else { ", nowhere" };
                println!("#   Kevent of {kq}, room for {room}{nowhere}");
                for change in changes {
                    println!("#       {change:x?}");
                }
            }
            _ => println!("#   {call:?}"),
        }
        match answer {
            Answer::Events(events) => {
                println!("#     = {} events", events.len());
                for event in events {
                    println!("#       {event:x?}");
                }
            }
            _ => println!("#     = {answer:?}"),
        }
    }
    match expected {
        Expected::Exactly(answer) => println!("#   but the model says {answer:?}"),
        Expected::Events(events) => {
            println!("#   but the model says {} events", events.len());
            for event in events {
                println!("#       {event:x?}");
            }
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
    })
}

/// Whether all of the sequences about this are as the model says.
fn compare(machine: &mut Machine, about: About, cases: u32, seed: u64) -> bool {
    // Not all of it may be 0.
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let start = Instant::now();
    let state = RefCell::new((machine, Seen::default(), Vec::new(), None));
    let result = runner.run(&sequence(about, STEPS), |sequence| {
        let (machine, seen, trace, differed) = &mut *state.borrow_mut();
        run(machine, &sequence, seen, trace).map_err(|expected| {
            // As it was seen: what comes of two at once may not come again.
            *differed = Some((std::mem::take(trace), expected));
            TestCaseError::fail("it differs")
        })
    });
    let (_, seen, _, differed) = state.into_inner();
    println!(
        "# {}: {} sequences from seed {seed}, {} calls, {} events, {} errors, in {:.1} s",
        about.name(),
        seen.sequences,
        seen.calls,
        seen.events,
        seen.errors,
        start.elapsed().as_secs_f64()
    );
    match result {
        Ok(()) => true,
        Err(TestError::Fail(..)) => {
            println!("# the smallest that has differed:");
            if let Some((trace, expected)) = differed {
                show(&trace, &expected);
            }
            false
        }
        Err(TestError::Abort(reason)) => {
            println!("# {reason}");
            false
        }
    }
}

fn main() {
    let cases = number("REFERENCE_CASES", 10_000);
    let seed = number("REFERENCE_SEED", 1);
    let only = env::var("REFERENCE_ABOUT").ok();
    let abouts: Vec<About> = About::ALL
        .into_iter()
        .filter(|about| only.as_ref().is_none_or(|only| about.name() == only))
        .collect();
    // A child takes as long as all else of a sequence: of these there are fewer.
    let weight = |about: About| if about == About::Children { 1 } else { 6 };
    let weights: u64 = abouts.iter().map(|&about| weight(about)).sum();
    let dir = env::temp_dir().join(format!("reference.{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a directory for the files");
    env::set_current_dir(&dir).expect("it can be entered");

    println!("TAP version 13");
    println!("1..{}", abouts.len());
    let mut machine = Machine::new();
    let mut failed = false;
    for (at, about) in abouts.into_iter().enumerate() {
        let name = about.name();
        let share = (cases * weight(about)).div_ceil(weights);
        let same = compare(&mut machine, about, share as u32, seed);
        failed |= !same;
        let not = if same { "" } else { "not " };
        println!("{not}ok {} reference.{name}", at + 1);
    }
    machine.reset();
    let _ = std::fs::remove_dir(&dir);
    std::process::exit(failed.into());
}
