//! Devices by their names.

use burn::tensor::Device;
use rekindle::{DeviceError, device, devices};

#[test]
fn a_name_leads_to_its_device_or_says_why_not() {
    assert_eq!(device("cpu"), Ok(Device::flex()));
    assert_eq!(device("tpu").unwrap_err(), DeviceError::Unknown("tpu".into()));
    assert_eq!(device("cpu:x").unwrap_err(), DeviceError::Unknown("cpu:x".into()));
    assert_eq!(device("cpu:1").unwrap_err(), DeviceError::Absent { name: "cpu:1".into() });
    if cfg!(not(feature = "cuda")) {
        let error = device("cuda:0").unwrap_err();
        assert_eq!(error, DeviceError::NotBuilt { name: "cuda:0".into(), feature: "cuda" });
        assert!(error.to_string().contains("--features cuda"));
    }
    assert!(devices().contains(&"cpu".to_owned()));
}
