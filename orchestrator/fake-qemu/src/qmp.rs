//! QMP (QEMU docs/interop/qmp-spec), the commands that s2lab uses.

use crate::{agent, agent::FUNCTION, machine::Machine, memory, migration, script::Moment, tables};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
};

/// The properties of the existing CPU models.
const CPUS: [&str; 2] = ["neoverse-v1", "neoverse-n1"];

/// Serves until s2lab closes the channel, or the script does.
pub(crate) fn serve(machine: &Arc<Machine>, channel: UnixStream) {
    let Ok(reading) = channel.try_clone() else { return };
    let mut qmp = Qmp { machine, channel };
    let greeting = json!({"QMP": {
        "version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "fake"}, "capabilities": ["oob"],
    }});
    if !qmp.say("greeting", greeting) {
        return;
    }
    for line in BufReader::new(reading).lines() {
        let Ok(request) = line.map_err(drop).and_then(|line| serde_json::from_str(&line).map_err(drop))
        else {
            return;
        };
        if !qmp.answer(&request) {
            return;
        }
    }
}

struct Qmp<'a> {
    machine: &'a Arc<Machine>,
    channel: UnixStream,
}

impl Qmp<'_> {
    fn answer(&mut self, request: &Value) -> bool {
        let command = request["execute"].as_str().unwrap_or_default();
        let result = match command {
            "qmp_capabilities" => Ok(json!({})),
            "query-cpu-model-expansion" => expand(&request["arguments"]["model"]),
            "query-cpu-definitions" => {
                Ok(CPUS.iter().map(|name| json!({"name": name, "typename": name})).collect())
            }
            "query-status" => {
                let running = self.machine.lock().running;
                Ok(json!({"running": running, "status": if running { "running" } else { "paused" }}))
            }
            "query-pci" => Ok(self.pci()),
            "human-monitor-command" => {
                Ok(json!(format!("the answer to {}", request["arguments"]["command-line"])))
            }
            "x-query-roms" => Ok(json!({"human-readable-text": memory::ROMS})),
            "migrate-set-capabilities" | "migrate-set-parameters" => Ok(json!({})),
            "migrate" => migrated(migration::write(self.machine, &request["arguments"])),
            "migrate-incoming" => migrated(migration::read(self.machine, &request["arguments"])),
            "query-migrate" => Ok(migration::progress(self.machine)),
            "object-del" | "object-add" => Ok(json!({})),
            "device_del" => self.unplug(&request["arguments"]),
            "device_add" => self.plug(&request["arguments"]),
            "stop" => {
                self.machine.set_running(false);
                self.event("STOP");
                Ok(json!({}))
            }
            "cont" => {
                let first = !self.machine.lock().booted;
                self.machine.set_running(true);
                self.event("RESUME");
                if first {
                    let machine = Arc::clone(self.machine);
                    let started = thread::Builder::new().spawn(move || agent::boot(&machine));
                    started.map(|_| json!({})).map_err(|why| ("GenericError", why.to_string()))
                } else {
                    Ok(json!({}))
                }
            }
            "quit" => std::process::exit(0),
            _ => Err(("CommandNotFound", format!("The command {command} has not been found"))),
        };
        let unplugs = command == "device_del" && result.is_ok();
        let answer = match result {
            Ok(value) => json!({"return": value, "id": request["id"]}),
            Err((class, desc)) => json!({"error": {"class": class, "desc": desc}, "id": request["id"]}),
        };
        self.say(command, answer) && (!unplugs || self.released(&request["arguments"]))
    }

    fn unplug(&self, arguments: &Value) -> Result<Value, (&'static str, String)> {
        let missing = || ("DeviceNotFound", format!("Device '{}' not found", arguments["id"]));
        let name = self.device(arguments).ok_or_else(missing)?;
        match self.machine.lock().unplugged.insert(name.to_owned()) {
            true => Ok(json!({})),
            false => Err(missing()),
        }
    }

    /// Takes a device with the memory of its BAR, into its own slot.
    fn plug(&self, arguments: &Value) -> Result<Value, (&'static str, String)> {
        let wrong = |why: &str| ("GenericError", format!("{why}: {arguments}"));
        let name = self.device(arguments).ok_or_else(|| wrong("no such device"))?;
        let whole = json!({
            "driver": "ivshmem-plain", "id": format!("dev-{name}"), "bus": format!("port-{name}"),
            "memdev": format!("bar-{name}"), "master": "on",
        });
        let mut state = self.machine.lock();
        if *arguments != whole || !state.unplugged.remove(name) {
            return Err(wrong("it is not a device that was unplugged"));
        }
        state.plugged.insert(name.to_owned());
        Ok(json!({}))
    }

    /// Returns the name of the device in the arguments of a command.
    fn device<'a>(&self, arguments: &'a Value) -> Option<&'a str> {
        let name = arguments["id"].as_str()?.strip_prefix("dev-")?;
        self.machine.options.devices.contains_key(name).then_some(name)
    }

    /// The host has released a device.
    fn released(&mut self, arguments: &Value) -> bool {
        let Some(name) = self.device(arguments) else { return true };
        let data =
            json!({"device": format!("dev-{name}"), "path": format!("/machine/peripheral/dev-{name}")});
        let event = "DEVICE_DELETED";
        let time = json!({"seconds": 1, "microseconds": 0});
        self.say(event, json!({"event": event, "data": data, "timestamp": time}))
    }

    /// Answers `command`, or does the script's act. Returns false if the channel has ended.
    fn say(&mut self, command: &str, answer: Value) -> bool {
        let of = if self.machine.options.questions { Moment::Question } else { Moment::Qmp };
        let Some(text) = self.machine.troubled(&of(command.into()), format!("{answer}\r\n")) else {
            let _ = self.channel.shutdown(Shutdown::Both);
            return false;
        };
        self.channel.write_all(text.as_bytes()).is_ok()
    }

    fn event(&mut self, name: &str) {
        let event = json!({"event": name, "timestamp": {"seconds": 1, "microseconds": 0}});
        // The next read finds out that nobody listens.
        let _ = self.channel.write_all(format!("{event}\r\n").as_bytes());
    }

    /// Returns each device behind its root port.
    fn pci(&self) -> Value {
        let range = json!({"base": 0, "limit": 0});
        let (misplaced, narrow, unplugged) = {
            let state = self.machine.lock();
            (state.misplaced, state.narrow, state.unplugged.clone())
        };
        let devices = (1..).zip(&self.machine.options.devices);
        let devices = devices.filter(|(_, (name, _))| !unplugged.contains(*name)).map(|(bus, (name, slot))| {
            let address = tables::bar_pa(bus - 1).saturating_add_signed(misplaced);
            let registers = json!({
                "bar": 0, "type": "memory", "address": 0x1000_0000, "size": 256, "prefetch": false, "mem_type_64": false,
            });
            let bar = self.machine.bars.get(name).map(|bar| json!({
                "bar": 2, "type": "memory", "address": address, "size": bar.size, "prefetch": true, "mem_type_64": true,
            }));
            // A device without memory of s2lab's has a virtual function.
            let function_of = bar.is_none().then(|| json!({
                "bus": bus, "slot": 16, "function": 0, "class_info": {"class": 0x200, "desc": "Ethernet controller"},
                "id": {"device": 0x10ca, "vendor": 0x8086}, "irq_pin": 0, "qdev_id": "",
                "regions": [{
                    "bar": 0, "type": "memory", "address": address, "size": FUNCTION, "prefetch": !narrow,
                    "mem_type_64": !narrow,
                }],
            }));
            let regions: Vec<_> = [registers].into_iter().chain(bar).collect();
            let function = json!({
                "bus": bus, "slot": 0, "function": 0, "class_info": {"class": 0x500, "desc": "RAM controller"},
                "id": {"device": 0x1110, "vendor": 0x1af4}, "irq_pin": 1, "qdev_id": format!("dev-{name}"),
                "regions": regions,
            });
            let behind: Vec<_> = [function].into_iter().chain(function_of).collect();
            json!({
                "bus": 0, "slot": slot, "function": 0, "class_info": {"class": 0x604, "desc": "PCI bridge"},
                "id": {"device": 0xc, "vendor": 0x1b36}, "irq_pin": 1, "qdev_id": format!("port-{name}"), "regions": [],
                "pci_bridge": {
                    "bus": {"number": 0, "secondary": bus, "subordinate": bus, "io_range": range,
                        "memory_range": range, "prefetchable_range": range},
                    "devices": behind,
                },
            })
        });
        json!([{"bus": 0, "devices": devices.collect::<Vec<_>>()}])
    }
}

fn migrated(done: Result<(), String>) -> Result<Value, (&'static str, String)> {
    done.map(|()| json!({})).map_err(|why| ("GenericError", why))
}

fn expand(model: &Value) -> Result<Value, (&'static str, String)> {
    let name = model["name"].as_str().unwrap_or_default();
    if !CPUS.contains(&name) {
        return Err(("GenericError", format!("The CPU type '{name}' is not a recognized ARM CPU type")));
    }
    let props = if name == "neoverse-v1" { json!({"pauth-impdef": false}) } else { json!({}) };
    Ok(json!({"model": {"name": name, "props": props}}))
}
