//! Arrow IPC, compression and sealing of record batches
