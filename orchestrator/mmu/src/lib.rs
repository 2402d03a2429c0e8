//! Stage-1 and stage-2 translation tables of the Arm architecture, decoded and walked without I/O.
