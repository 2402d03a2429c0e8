//! The line by which a host's console shows that it prints its kernel's log.

/// Returns the line that the host's agent writes to the kernel's log when the cell with this nonce has
/// ended. The console has shown everything that came before it.
pub fn cell_line(nonce: u64) -> String {
    format!("s2lab-agent: the end of a cell, {nonce:016x}")
}

/// Returns the line that the host's agent writes to the kernel's log at its start. No other line of
/// a kernel has this text with the cell's nonce: the command line, which a kernel prints, has the
/// nonce alone.
pub fn test_line(nonce: u64) -> String {
    format!("s2lab-agent: test line of the console, {nonce:016x}")
}
