//! The recipe of README.md, line for line, as a program runs it.

use rekindle::bridge::ModuleStateDict as _;
use rekindle::load_checkpoint;
use rekindle::models::init::Init;
use rekindle::models::zoo::{ResNet, ResNetConfig};
use rekindle::{Checkpoint, device};
use rekindle_testing::{alone_with, is_alone};

/// The lines between these stand in README.md.
fn recipe() -> rekindle::Result<rekindle::bridge::Loaded> {
    let device = device("cpu")?;
    // README.md: from here
    let mut model = ResNet::new(&ResNetConfig::new(18, 1000)?, &mut Init::lazy(&device))?;
    let loaded = load_checkpoint(&mut model, "torchvision://resnet18")?;
    println!("{}", loaded.report);
    // README.md: to here
    let after = model.state_dict()?;
    let before = loaded.checkpoint.model_state_dict()?;
    for (name, tensor) in before.iter() {
        assert_eq!(after.get(name).unwrap().to_le_bytes()?, tensor.to_le_bytes()?, "{name}");
    }
    Ok(loaded)
}

#[test]
fn the_recipe_for_weights_by_name_stands_in_the_readme() {
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n");
    let source = include_str!("readme.rs");
    let recipe = source.split("// README.md: from here\n").nth(1).unwrap();
    let recipe = recipe.split("    // README.md: to here").next().unwrap();
    let readme = include_str!("../../README.md");
    assert!(lines(readme).contains(&lines(recipe)), "{recipe}");
}

#[test]
fn the_recipe_for_weights_by_name_runs() {
    let test = "readme::the_recipe_for_weights_by_name_runs";
    let home = tempfile::tempdir().unwrap();
    if !is_alone(test) {
        // Weights of this network lie where torch.hub keeps torchvision's, as after a first time with a network.
        let device = device("cpu").unwrap();
        let network = ResNet::new(&ResNetConfig::new(18, 1000).unwrap(), &mut Init::lazy(&device)).unwrap();
        let folder = home.path().join("hub/checkpoints");
        std::fs::create_dir_all(&folder).unwrap();
        Checkpoint::from(network.state_dict().unwrap()).save(folder.join("resnet18-f37072fd.pth")).unwrap();
    }
    let variables = [("TORCH_HOME", home.path().as_os_str())];
    alone_with(test, &variables, || {
        let loaded = recipe().unwrap();
        assert!(loaded.report.is_exact());
        assert!(loaded.path.ends_with("hub/checkpoints/resnet18-f37072fd.pth"));
    });
}
