//! YAML: any text is a scenario, or has mistakes that can be shown. The same holds for a list of
//! kernels.

use s2lab_model::{
    kernel,
    scenario::{self, Scenario},
};

pub(crate) fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match scenario::load("..", text) {
        Ok(scenario) => {
            // The log stores it as JSON.
            let json = serde_json::to_string(&scenario).map_err(|e| e.to_string());
            let read =
                json.and_then(|json| serde_json::from_str::<Scenario>(&json).map_err(|e| e.to_string()));
            assert_eq!(read, Ok(scenario));
        }
        Err(mistakes) => drop(mistakes.to_string()),
    }
}

pub(crate) fn kernels(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(mistakes) = kernel::load("kernels.yaml", text) {
        drop(mistakes.to_string());
    }
}
