//! The end of a cell. The host may serve another one after it.

use super::Host;
use crate::link::LinkError;
use s2lab_protocol::ask::EndCell;
use s2lab_protocol::{CellRecord, cell_line};

impl Host<'_> {
    /// Answers with the record of the cell, once nothing of it is left in the host.
    pub(super) fn end_cell(&mut self, id: u64, ask: &EndCell) -> Result<(), LinkError> {
        let EndCell { nonce, follows } = *ask;
        self.end_guests()?;
        let tables = self.freed();
        if let Some(Ok(trace)) = &mut self.trace {
            trace.forget();
        }
        self.interfaces.clear();
        let root = &self.agent.root;
        let ran = self.ran.as_ref().map(|name| format!("the program {name} has run in it"));
        let released = self.agent.link.silent(|| self.devices.release(root, follows));
        let unclean = released.err().map(|why| why.message).or(ran);
        let taint = root.taint();
        if let Err(why) = root.log(&cell_line(nonce)) {
            self.agent.link.log(format!("cannot write to the kernel's log: {why}"))?;
        }
        self.agent.link.record(id, |answered| CellRecord { nonce, answered, taint, tables, unclean })
    }
}
