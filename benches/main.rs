//! How fast it is, beside PyTorch and Burn: one table of rows, measured in turns.
//!
//!     cargo bench                                          # everything; the table goes to docs/benchmarks.md
//!     REKINDLE_TORCH=/path/to/python cargo bench           # beside PyTorch
//!     cargo bench -- open save                             # some rows
//!     cargo bench -- --small                               # small data, two rounds: does it run?
//!     cargo bench -- --list                                # which rows there are
//!
//! Whoever is measured has a process of its own, which makes what it needs and then takes turns with the others, ABAB: what else the
//! machine does meets all of them. What is over sooner is done as often in a turn as fills a fifth of a second, and the mean counts: threads of
//! the one before, which wait for more to do without sleeping (PyTorch's do, for some milliseconds), would else be on the cores of this one.
//! A figure is the best of its turns (a stall, which is a difference of two, the median); memory is the most that a process had beyond
//! what it had before its first turn.

#[path = "../src/allocator.rs"] // the command's
mod allocator;
mod contender;
mod machine;
mod memory;
mod report;
mod rows;
mod setting;

use contender::Contender;
use report::{Measured, Report};
use rows::{Line, ROWS, Row, Size, Who};
use setting::{Error, Order, Setting};

fn main() -> Result<(), Error> {
    allocator::keep_memory();
    match Order::of_arguments()? {
        Order::List => {
            ROWS.iter().for_each(|row| println!("{:14}{}", row.name, row.what));
            Ok(())
        }
        Order::TakeTurns { row, variant, setting } => contender::take_turns(row, &variant, &setting),
        Order::Measure { rows, setting, rounds } => measure(&rows, &setting, rounds),
    }
}

/// Measures the rows, prints each line as soon as it is known, and writes the table.
fn measure(rows: &[&'static Row], setting: &Setting, rounds: Option<usize>) -> Result<(), Error> {
    let mut report = Report::new(setting);
    for row in rows {
        (row.prepare)(setting)?;
        for line in (row.lines)(setting) {
            let measured = turns(row, &line, setting, rounds)?;
            report.add(&line, &measured);
        }
        setting.clear()?;
    }
    report.write()
}

/// How long a turn is to take, in seconds, and how often at most something is done in it.
const TURN: f64 = 0.2;
const OFTEN: f64 = 500.0;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from one to OFTEN
fn as_often_as_fills_a_turn(seconds: f64) -> u32 {
    (TURN / seconds).clamp(1.0, OFTEN) as u32
}

/// Lets all contenders of a line take their turns.
fn turns(row: &Row, line: &Line, setting: &Setting, rounds: Option<usize>) -> Result<Vec<Option<Measured>>, Error> {
    let everyone: Vec<&Who> = std::iter::once(&line.ours).chain(line.rivals.iter().map(|rival| &rival.who)).collect();
    let rounds = rounds.unwrap_or(if setting.size == Size::Small { 2 } else { line.rounds });
    let mut measured: Vec<Option<Measured>> =
        everyone.iter().map(|who| setting.has(who).then(Measured::default)).collect();
    let mut there: Vec<Option<Contender>> = everyone.iter().map(|_| None).collect();
    let mut times = vec![1; everyone.len()];
    for round in 0..rounds {
        for (((who, contender), measured), times) in everyone.iter().zip(&mut there).zip(&mut measured).zip(&mut times)
        {
            let Some(measured) = measured else { continue };
            if contender.is_none() || line.anew {
                // The one before is gone first: two of them may not fit into memory.
                drop(contender.take());
                *contender = Some(Contender::start(row, who, setting)?);
            }
            let Some(contender) = contender else { continue };
            let seconds = contender.turn(*times)?;
            measured.add(seconds, contender.memory(), contender.version());
            // What the first turn makes is used again by the others.
            if round == 0 && rounds > 2 && !line.anew {
                measured.forget_time();
            }
            if !line.median && !line.anew {
                *times = as_often_as_fills_a_turn(seconds);
            }
        }
    }
    Ok(measured)
}
