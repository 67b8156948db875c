//! PyTorch takes a tied model's run back.

use rekindle_testing::Torch;

use crate::tied_gpt::{Gpt, Headless, resumed};

#[test]
fn pytorch_goes_on_from_a_tied_run_strictly_and_with_one_tensor() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    resumed::<Gpt>().0.save(folder.path().join("head.pt")).unwrap();
    resumed::<Headless>().0.save(folder.path().join("headless.pt")).unwrap();
    println!("{}", torch.run("ties.py", [folder.path()]));
}
