//! Explores a space from a program: `cargo run --release --example explore -- PROGRAM SPACE FOLDER`.
//!
//! PROGRAM is fastrcaps: trials are processes of it.

use std::{env, sync::atomic::AtomicBool};

use fastrcaps::{
    engine::explore::{Event, Exploration},
    learn::data::{DataDirs, dirs::Environment},
    present::report::findings::Findings,
    search::{dispatch, space::Space, study::Study},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [program, space, folder] = arguments.as_slice() else { anyhow::bail!("give PROGRAM SPACE FOLDER") };
    let space = Space::read(space.as_ref(), &[])?;
    let data = DataDirs::new(None, &Environment::default());
    let exploration =
        Exploration { confirm: None, ..Exploration::new(space, Study::new(folder), program.into(), data) };
    let explored = exploration.run(&AtomicBool::new(false), &mut |event| {
        if let Event::Sweep(dispatch::Event::Ended { record, .. }) = event {
            println!("{} {:?}", record.key, record.validation_accuracy);
        }
    })?;
    let findings = Findings::of(&explored.view);
    for index in &findings.front {
        let point = &findings.points[*index];
        println!("{}: {:?} s, {:?}", point.label, point.seconds(), point.mean_accuracy());
    }
    Ok(())
}
