//! The digits run of examples/digits, resumed by hand: what `rekindle resume` does, in a screenful.

use burn::tensor::Device;
use rekindle::Checkpoint;
use rekindle::models::init::Init;
use rekindle::models::zoo::Digits;
use rekindle::train::data::{DataLoader, ReadOptions, read_dataset};
use rekindle::train::loss::cross_entropy;
use rekindle::train::run::{Run, SchedulePer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    let mut options = ReadOptions::default();
    (options.input_shape, options.divide_by) = (Some(vec![1, 8, 8]), Some(16.0));
    let (rows, _held_back) = read_dataset("examples/digits/digits.csv.gz", &options)?.split_at(1437)?;

    let mut run = Run::resume(Checkpoint::open("examples/digits/run.pt")?, Digits::new(&mut Init::lazy(&device))?)?
        .with_loader(DataLoader::new(rows, 64)?.shuffle(true))
        .schedule_per(SchedulePer::Epoch)
        .until_epoch(26);
    while let Some(batch) = run.next_batch()? {
        let logits = run.model().forward(batch.inputs(&device)?);
        run.step(cross_entropy(logits, batch.classes::<1>(&device)?))?;
    }
    run.save("run-resumed.pt")?;
    Ok(())
}
