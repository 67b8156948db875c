//! Folders of pictures as torchvision lists them, and its random transforms: `tests/fixtures/data_sets`.

use rekindle_models::image::{Augment, ImageFolder, ImageTransform};
use rekindle_random::{Generator, random_int64};
use rekindle_testing::fixtures::{json, path, sha256, size, sizes};

fn folder() -> ImageFolder {
    ImageFolder::open(path("data_sets/pictures")).unwrap()
}

#[test]
fn classes_and_samples_are_in_torchvision_s_order() {
    let truth = json("data_sets/pictures.json");
    let folder = folder();
    let classes: Vec<&str> = truth["classes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(folder.classes(), classes);
    let found: Vec<(String, usize)> = folder
        .samples()
        .iter()
        .map(|(file, class)| (file.strip_prefix(folder.root()).unwrap().display().to_string(), *class))
        .collect();
    let expected = truth["samples"].as_array().unwrap().iter();
    let expected: Vec<_> = expected.map(|sample| (sample[0].as_str().unwrap().to_owned(), size(&sample[1]))).collect();
    assert_eq!(found, expected);
}

#[test]
fn random_transforms_draw_and_make_what_torchvision_s_do() {
    let truth = json("data_sets/pictures.json");
    let places = sizes(&truth["places"]);
    let normal = ImageTransform::default().mean([0.4, 0.5, 0.6]).std([0.2, 0.3, 0.25]);
    let usual = (3.0 / 4.0, 4.0 / 3.0);
    let flip = |p| Augment::RandomHorizontalFlip { p };
    let resized = |size, scale, ratio| Augment::RandomResizedCrop { size, scale, ratio };
    for (name, changes, transform) in [
        ("flip", vec![flip(0.5)], normal.clone().resize((12, 14))),
        ("crop", vec![Augment::RandomCrop { size: 10, padding: 2 }, flip(0.3)], normal.clone()),
        ("resized crop", vec![resized(12, (0.08, 1.0), usual), flip(0.5)], normal.clone()),
        ("narrow", vec![resized(7, (0.9, 1.0), (5.0, 6.0))], normal.clone()),
    ] {
        let folder = changes.into_iter().fold(folder(), ImageFolder::augment).transform(transform);
        let case = &truth["random"][name];
        let mut generator = Generator::new(truth["seed"].as_i64().unwrap());
        for batch in case["batches"].as_array().unwrap() {
            let (pictures, classes) = folder.batch(&places, &mut generator).unwrap();
            assert_eq!(pictures.shape().as_slice(), sizes(&batch[0]), "{name}");
            assert_eq!(sha256(pictures.as_bytes()), batch[1].as_str().unwrap(), "{name}");
            assert_eq!(classes.shape().as_slice(), [places.len()]);
        }
        assert_eq!(random_int64(&mut generator), case["then"].as_i64().unwrap(), "{name}");
    }
}

#[test]
fn a_folder_that_torchvision_would_list_otherwise_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let says = |words: &str| {
        let error = ImageFolder::open(root).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    says("no folder in it");
    std::fs::create_dir(root.join("cat")).unwrap();
    says("no picture in it");
    std::fs::copy(path("data_sets/pictures/a/x.png"), root.join("cat/1.png")).unwrap();
    assert_eq!(ImageFolder::open(root).unwrap().samples().len(), 1);
    std::fs::write(root.join("cat/2.bmp"), b"BM").unwrap();
    says("2.bmp: torchvision takes it for a sample");
    std::fs::remove_file(root.join("cat/2.bmp")).unwrap();
    std::fs::write(root.join("cat/2.png"), b"no picture").unwrap();
    let folder = ImageFolder::open(root).unwrap();
    let error = folder.batch(&[0, 1], &mut Generator::new(0)).unwrap_err().to_string();
    assert!(error.contains("2.png"), "{error}");
    assert!(folder.batch(&[7], &mut Generator::new(0)).is_err());
}
