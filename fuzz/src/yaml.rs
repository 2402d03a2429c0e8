//! YAML: any text is a scenario, or has mistakes that can be shown. The same holds for a list of
//! kernels.

use s2lab_model::{
    cell::ResolvedCell,
    kernel::{self, Traits},
    scenario,
};

pub(crate) fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match scenario::load("..", text) {
        Ok(scenario) => {
            let cell = ResolvedCell::of(&scenario, Traits::AtLeast([].into()));
            // The log stores it as JSON.
            let json = serde_json::to_string(&cell).map_err(|e| e.to_string());
            let read =
                json.and_then(|json| serde_json::from_str::<ResolvedCell>(&json).map_err(|e| e.to_string()));
            assert_eq!(read.as_ref(), Ok(&cell));
            let written = cell.written(&scenario.scenario, &scenario.about);
            assert_eq!(ResolvedCell::of(&written, cell.traits.clone()), cell);
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
