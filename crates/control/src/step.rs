//! The steps of a server's life, of its start, of a change of definitions, of its stop: one variant
//! each, with the sentence that logs and errors say. Data only: [`crate::plan`] orders them,
//! [`crate::executor`] carries them out.

use std::fmt;

/// Which definitions a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Those that were in force when the change began.
    Current,
    /// Those that were in force, and the sources that the change brings: its views can be filled
    /// once those are read.
    Sources,
    /// Those that the change brings.
    Next,
    /// Those that a start finds.
    Saved,
}

impl Which {
    fn words(self) -> &'static str {
        match self {
            Self::Current => "the definitions before",
            Self::Sources => "the definitions before and the new sources",
            Self::Next => "the new definitions",
            Self::Saved => "the saved definitions",
        }
    }
}

/// One step. Views are named as the store knows them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Delete the state that no saved definition names, but not what fills have folded that were
    /// cut off: the same change goes on with it.
    DropUnnamed,
    /// Make the tables and topics that the new definitions need and that are missing.
    MakeTables,
    /// Make a new view known to the store; nothing reads it yet.
    BeginView(String),
    /// Fold what the archive has into a new view, while ingest goes on.
    FillBeside(String),
    /// Fold into all new views what came meanwhile, while ingest goes on, until little is left.
    CatchUp,
    /// Finish what was read, and stop ingest.
    Pause,
    /// Read on with the definitions before until all shards have the same events, where others are
    /// scored from here on; ingest stands before it and after it.
    Level,
    /// Fold what came since into a new view, while ingest stands.
    FillRest(String),
    /// Make these definitions the ones that a restart finds.
    Save(Which),
    /// Publish models, views and services of these definitions, and start ingest with them.
    Resume(Which),
    /// Delete the tables that were made for sources which only the new definitions have, and that
    /// hold nothing: a source of the same name may have other columns next time.
    DropEmptyTables,
    /// Delete the state of a view that no definition names.
    DropView(String),
    /// Delete whatever else no definition names: what fills that were cut off have folded.
    DropLeftovers,
}

impl Step {
    /// Whether it fills views beside ingest, which takes as long as they have rows.
    pub(crate) fn is_fill(&self) -> bool {
        matches!(self, Self::FillBeside(_) | Self::CatchUp)
    }

    /// Whether a change may give way to another one at it: ingest does not stand for it, and what
    /// is left takes long.
    pub(crate) fn may_give_way(&self) -> bool {
        self.is_fill() || matches!(self, Self::BeginView(_))
    }

    /// Whether it deletes what the new definitions, in force by then, do not name.
    pub(crate) fn is_deletion(&self) -> bool {
        matches!(self, Self::DropView(_) | Self::DropLeftovers)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropUnnamed => f.write_str("delete state that no saved definition names"),
            Self::MakeTables => f.write_str("make the tables and topics that are missing"),
            Self::BeginView(view) => write!(f, "make view {view} known to the store"),
            Self::FillBeside(view) => write!(f, "fill view {view} from the archive beside ingest"),
            Self::CatchUp => f.write_str("fill what came meanwhile, beside ingest"),
            Self::Pause => f.write_str("stop ingest"),
            Self::Level => f.write_str("bring all shards to the same events"),
            Self::FillRest(view) => write!(f, "fill view {view} with what came meanwhile"),
            Self::Save(which) => write!(f, "save {}", which.words()),
            Self::Resume(which) => write!(f, "start ingest with {}", which.words()),
            Self::DropEmptyTables => f.write_str("delete the new tables, which hold nothing"),
            Self::DropView(view) => write!(f, "delete the state of view {view}"),
            Self::DropLeftovers => f.write_str("delete what no definition names"),
        }
    }
}
