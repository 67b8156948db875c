//! The digits run of examples/digits, resumed by hand: what `rekindle resume` does, in a screenful.

use rekindle::models::zoo::Digits;
use rekindle::prelude::*;

fn main() -> rekindle::Result<()> {
    let device = device("cpu")?.autodiff();
    let options = ReadOptions::default().input_shape([1, 8, 8]).divide_by(16.0);
    let (rows, _held_back) = read_dataset("examples/digits/digits.csv.gz", &options)?.split_at(1437)?;

    let mut run = Run::resume(Checkpoint::open("examples/digits/run.pt")?, Digits::new(&mut Init::lazy(&device))?)?
        .with_loader(DataLoader::new(rows, 64)?.shuffle(true))
        .schedule_per(SchedulePer::Epoch)
        .until_epoch(26);
    while let Some(batch) = run.next_batch()? {
        let logits = run.model().forward(batch.inputs(&device)?)?;
        run.step(cross_entropy(logits, batch.classes::<1>(&device)?)?)?;
    }
    run.save("run-resumed.pt")?;
    Ok(())
}
