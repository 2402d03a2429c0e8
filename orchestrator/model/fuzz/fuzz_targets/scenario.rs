//! Any text is a scenario, or has mistakes that can be shown; the kernel list likewise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s2lab_model::{kernel, scenario};

fuzz_target!(|text: &str| {
    match scenario::load("..", text) {
        Ok(scenario) => {
            let json = serde_json::to_string(&scenario).unwrap();
            assert_eq!(serde_json::from_str::<scenario::Scenario>(&json).unwrap(), scenario);
        }
        Err(mistakes) => drop(mistakes.to_string()),
    }
    let _ = kernel::load("kernels.yaml", text).map_err(|mistakes| mistakes.to_string());
});
