//! Headless Chromium of Debian, which opens a page as a person's browser does.

mod wire;

use crate::{Failed, KIND, Missing, had};
use s2lab_cache::{DebianPrograms, Programs};
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use wire::Wire;

const NAME: &str = "chromium";
const PROGRAM: &str = "usr/lib/chromium/chromium-headless-shell";
const FONTS: &str = "usr/share/fonts";

/// The packages, and what of them no page here needs: drivers of graphics cards, X programs.
const CHROMIUM: DebianPrograms<'_> = DebianPrograms {
    kind: KIND,
    name: NAME,
    packages: &["chromium-headless-shell", "fonts-dejavu-core"],
    without: &[
        "adduser",
        "debconf",
        "libc6",
        "libgl1-mesa-dri",
        "libicu",
        "libllvm",
        "libxml2",
        "libz3",
        "x11-",
        "xdg-utils",
        "xkb-data",
    ],
    programs: &[PROGRAM],
    folders: &["usr/lib/chromium", FONTS],
    useless: &["VkLayer", "VkICD", "crashpad"],
};

/// Arguments of every start:
/// - The sandbox needs user namespaces, which root in a container does not have. A test opens only
///   its own pages.
/// - No name is resolved, and nothing is sent in the background.
const ARGUMENTS: [&str; 10] = [
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
];

/// Chromium, ready to be started.
pub struct Browser {
    programs: Programs,
}

/// The circumstances in which a page is seen.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub width: u32,
    pub height: u32,
    /// Prefers dark colours.
    pub dark: bool,
    /// Sees the page as a printer does.
    pub print: bool,
    /// Runs the page's own scripts.
    pub scripts: bool,
    /// A deficiency of colour vision that is simulated in pictures: `deuteranopia`, ..., or `none`.
    pub vision: &'static str,
}

impl Default for View {
    fn default() -> Self {
        Self { width: 1280, height: 800, dark: false, print: false, scripts: true, vision: "none" }
    }
}

impl Browser {
    /// Returns the reader, which the first call fetches: about 120 MB.
    pub fn get() -> Result<Self, Missing> {
        let programs = had::cache(NAME)?.programs(&CHROMIUM).map_err(had::missing(NAME))?;
        Ok(Self { programs })
    }

    /// Opens a file and waits until it is loaded. The page has a Chromium of its own, which ends
    /// with it.
    pub fn open(&self, file: &Path, view: View) -> Result<Page, Failed> {
        let broken = |why: io::Error| Failed::broken(NAME, why);
        let file = real(file)?;
        let profile = tempfile::tempdir().map_err(broken)?;
        let wire = Wire::start(&self.command(profile.path()).map_err(broken)?, profile.path())?;
        let mut page = Page { wire, address: address(&file), _profile: profile };
        page.attach()?;
        page.apply(view)?;
        page.load()?;
        Ok(page)
    }

    /// Returns Chromium with a profile of its own and the fonts of its object alone.
    fn command(&self, profile: &Path) -> io::Result<Command> {
        let configuration = profile.join("fonts.conf");
        fs::write(&configuration, fonts(&self.programs.folder.join(FONTS), profile))?;
        let mut command = self.programs.command(PROGRAM);
        command.args(ARGUMENTS).arg(format!("--user-data-dir={}", profile.display()));
        command.env("HOME", profile).env("FONTCONFIG_FILE", configuration);
        Ok(command)
    }
}

/// An open page.
pub struct Page {
    wire: Wire,
    address: String,
    _profile: TempDir,
}

impl Page {
    fn attach(&mut self) -> Result<(), Failed> {
        let target = self.wire.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let parameters = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.wire.call("Target.attachToTarget", parameters)?;
        self.wire.session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.wire.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// Changes the circumstances. What depends on scripts changes with the next [`Page::load`].
    pub fn apply(&mut self, view: View) -> Result<(), Failed> {
        let scheme = if view.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = if view.print { "print" } else { "" };
        let size = json!({
            "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false,
        });
        for (method, parameters) in [
            ("Emulation.setDeviceMetricsOverride", size),
            ("Emulation.setEmulatedMedia", json!({ "media": media, "features": features })),
            ("Emulation.setEmulatedVisionDeficiency", json!({ "type": view.vision })),
            ("Emulation.setScriptExecutionDisabled", json!({ "value": !view.scripts })),
        ] {
            self.wire.call(method, parameters)?;
        }
        Ok(())
    }

    /// Opens another file in the same Chromium, in less time than a new one takes.
    pub fn go(&mut self, file: &Path) -> Result<(), Failed> {
        self.address = address(&real(file)?);
        self.load()
    }

    /// Loads the page, again if it is loaded, and forgets what it did before.
    pub fn load(&mut self) -> Result<(), Failed> {
        self.wire.events.clear();
        let navigated = self.wire.call("Page.navigate", json!({ "url": self.address }))?;
        if let Some(why) = navigated["errorText"].as_str() {
            return Err(Failed::broken(NAME, format!("{}: {why}", self.address)));
        }
        self.wire.wait_for("Page.loadEventFired")?;
        // The answer comes after the events of the load.
        self.evaluate("0").map(drop)
    }

    /// Returns the value of a JavaScript expression in the page; of a promise its result. It works
    /// also without the page's own scripts, and against its content security policy.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value, Failed> {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.wire.call("Runtime.evaluate", parameters)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(Failed::broken(NAME, details)),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Returns the document as it is now, after its scripts.
    pub fn dom(&mut self) -> Result<String, Failed> {
        let html = self.evaluate("document.documentElement.outerHTML")?;
        html.as_str().map(str::to_owned).ok_or_else(|| Failed::broken(NAME, "no document"))
    }

    /// Returns the time from the start of the load to the first content on the screen.
    pub fn first_paint(&mut self) -> Result<Duration, Failed> {
        // The entry comes with a frame, which may come after the load.
        let paint = "new Promise(done => new PerformanceObserver(list => \
             list.getEntriesByName('first-contentful-paint').forEach(e => done(e.startTime))\
             ).observe({ type: 'paint', buffered: true }))";
        let milliseconds = self.evaluate(paint)?.as_f64();
        let milliseconds = milliseconds.ok_or_else(|| Failed::broken(NAME, "nothing was painted"))?;
        Ok(Duration::from_secs_f64(milliseconds / 1000.0))
    }

    /// Returns a PNG picture of the window, or of the whole page.
    pub fn picture(&mut self, whole: bool) -> Result<Vec<u8>, Failed> {
        let mut parameters = json!({ "format": "png", "captureBeyondViewport": whole });
        if whole {
            let size = self.wire.call("Page.getLayoutMetrics", json!({}))?["cssContentSize"].clone();
            let (width, height) = (size["width"].clone(), size["height"].clone());
            parameters["clip"] = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        }
        let picture = self.wire.call("Page.captureScreenshot", parameters)?;
        let text = picture["data"].as_str().unwrap_or_default();
        data_encoding::BASE64.decode(text.as_bytes()).map_err(|why| Failed::broken(NAME, why))
    }

    /// Returns the names of the fonts in which the text of an element is shown.
    pub fn fonts(&mut self, selector: &str) -> Result<Vec<String>, Failed> {
        for domain in ["DOM", "CSS"] {
            self.wire.call(&format!("{domain}.enable"), json!({}))?;
        }
        let root = self.wire.call("DOM.getDocument", json!({}))?["root"]["nodeId"].clone();
        let element = json!({ "nodeId": root, "selector": selector });
        let element = self.wire.call("DOM.querySelector", element)?["nodeId"].clone();
        let fonts = self.wire.call("CSS.getPlatformFontsForNode", json!({ "nodeId": element }))?;
        let names = fonts["fonts"].as_array().into_iter().flatten();
        Ok(names.filter_map(|font| font["familyName"].as_str().map(str::to_owned)).collect())
    }

    /// Returns the addresses that the page has asked for since its load, itself left out. A page
    /// without a network has none; `data:` addresses are not the network.
    pub fn requests(&self) -> Vec<String> {
        let asked = self.events("Network.requestWillBeSent");
        let addresses = asked.filter_map(|event| event["request"]["url"].as_str());
        let others = addresses.filter(|url| *url != self.address && !url.starts_with("data:"));
        others.map(str::to_owned).collect()
    }

    /// Returns what has gone wrong in the page since its load: exceptions of its scripts, calls to
    /// `console`, dialogs, and violations of its content security policy.
    pub fn complaints(&self) -> Vec<String> {
        let exceptions =
            self.events("Runtime.exceptionThrown").map(|event| event["exceptionDetails"].clone());
        let console = self.events("Runtime.consoleAPICalled").map(|event| event["args"].clone());
        let log = self.events("Log.entryAdded").map(|event| event["entry"]["text"].clone());
        let dialogs = self.events("Page.javascriptDialogOpening").map(|event| event["message"].clone());
        exceptions.chain(console).chain(log).chain(dialogs).map(|what| what.to_string()).collect()
    }

    fn events<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Value> {
        self.wire.events.iter().filter(move |event| event["method"] == method).map(|event| &event["params"])
    }
}

fn real(file: &Path) -> Result<PathBuf, Failed> {
    let missing = |why| Failed::broken(NAME, format_args!("{}: {why}", file.display()));
    file.canonicalize().map_err(missing)
}

/// Returns the address of a file. Every byte that has a meaning in an address is encoded.
fn address(file: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let bytes = file.as_os_str().as_encoded_bytes().iter();
    let encoded = bytes.map(|byte| match plain(*byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    format!("file://{}", encoded.collect::<String>())
}

/// Returns the configuration of fontconfig: the fonts in `folder` alone, for every generic family.
fn fonts(folder: &Path, profile: &Path) -> String {
    let escape = |path: &Path| {
        path.display().to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    };
    let alias = |(family, font)| {
        format!("<alias><family>{family}</family><prefer><family>{font}</family></prefer></alias>")
    };
    let aliases = [
        ("sans-serif", "DejaVu Sans"),
        ("system-ui", "DejaVu Sans"),
        ("serif", "DejaVu Serif"),
        ("monospace", "DejaVu Sans Mono"),
    ];
    format!(
        "<?xml version=\"1.0\"?><!DOCTYPE fontconfig SYSTEM \"fonts.dtd\"><fontconfig><dir>{}</dir>\
         <cachedir>{}</cachedir>{}</fontconfig>",
        escape(folder),
        escape(&profile.join("fontconfig")),
        aliases.map(alias).concat(),
    )
}

#[cfg(test)]
mod tests;
