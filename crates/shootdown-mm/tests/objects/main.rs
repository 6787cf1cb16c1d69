//! Pages of objects: who maps them, what was stored to them, and where they go.

mod disk;
mod flushes;
mod storage;
mod written_back;
