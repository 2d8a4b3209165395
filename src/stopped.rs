//! Why a partition is stopped: what every next record would meet as well, or what must not be guessed.

use std::fmt;

use crate::refused::one_line;

/// The reason of a stop: a closed list that README explains and the metrics carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StopReason {
    /// The target has no such table, and the settings or the format forbid to create it.
    TableMissing,
    /// The target's table lacks a column, and the settings or the format forbid to add it.
    ColumnMissing,
    /// A column's type has no conversion from the source's type.
    ColumnUnfit,
    /// A column holds less than the source's, and the settings or the target forbid to change it.
    ColumnNarrow,
    /// The target's table has no unique key over the key's columns.
    KeyUnfit,
    /// A source column has the name of the column for the time of writing.
    ColumnReserved,
    /// Two source columns lead to one column of the target.
    ColumnShared,
    /// Two source tables lead to one target table.
    TableShared,
    /// JSON without a schema needs a setting of the connector.
    SourceSettingMissing,
    /// The schema of the records cannot be read.
    SchemaUnreadable,
    /// The target denies a right.
    RightMissing,
    /// The database refused a statement for a reason that is no fault of one record.
    TargetRefused,
    /// The group has a committed offset, but the sink has no row for the topic.
    PositionUnknown,
    /// Another group holds the partition under this sink name.
    HeldByGroup,
    /// The log begins behind the checkpoint: records are gone.
    LogGap,
    /// The log ends before the checkpoint.
    LogTruncated,
    /// Records of the log are damaged.
    LogDamaged,
    /// The topic was deleted.
    TopicGone,
    /// The topic was deleted and made again: nothing of what was read is in it.
    TopicRecreated,
    /// The last record that was applied is another one now.
    LogReplaced,
    /// The sink knows the topic from another cluster only.
    ClusterChanged,
    /// The topic has more partitions than before, so that keys have moved between them.
    PartitionsIncreased,
    /// The keys are encoded in another way than before, so that they have moved between partitions.
    KeyEncodingChanged,
    /// A guarded table has newer rows from a source that has gone back since.
    SourceWentBack,
    /// A truncate on a topic with more than one partition.
    TruncatePartitioned,
    /// An update or delete that is found by the row before, on a topic with more than one partition.
    MatchPartitioned,
    /// A record was refused, and the settings say to stop then.
    RecordRefused,
}

impl StopReason {
    /// Every reason, in the order of the list in README.
    pub const ALL: [Self; 27] = [
        Self::TableMissing,
        Self::ColumnMissing,
        Self::ColumnUnfit,
        Self::ColumnNarrow,
        Self::KeyUnfit,
        Self::ColumnReserved,
        Self::ColumnShared,
        Self::TableShared,
        Self::SourceSettingMissing,
        Self::SchemaUnreadable,
        Self::RightMissing,
        Self::TargetRefused,
        Self::PositionUnknown,
        Self::HeldByGroup,
        Self::LogGap,
        Self::LogTruncated,
        Self::LogDamaged,
        Self::TopicGone,
        Self::TopicRecreated,
        Self::LogReplaced,
        Self::ClusterChanged,
        Self::PartitionsIncreased,
        Self::KeyEncodingChanged,
        Self::SourceWentBack,
        Self::TruncatePartitioned,
        Self::MatchPartitioned,
        Self::RecordRefused,
    ];

    /// Returns the reason as the checkpoint, the metrics and README spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TableMissing => "table_missing",
            Self::ColumnMissing => "column_missing",
            Self::ColumnUnfit => "column_unfit",
            Self::ColumnNarrow => "column_narrow",
            Self::KeyUnfit => "key_unfit",
            Self::ColumnReserved => "column_reserved",
            Self::ColumnShared => "column_shared",
            Self::TableShared => "table_shared",
            Self::SourceSettingMissing => "source_setting_missing",
            Self::SchemaUnreadable => "schema_unreadable",
            Self::RightMissing => "right_missing",
            Self::TargetRefused => "target_refused",
            Self::PositionUnknown => "position_unknown",
            Self::HeldByGroup => "held_by_group",
            Self::LogGap => "log_gap",
            Self::LogTruncated => "log_truncated",
            Self::LogDamaged => "log_damaged",
            Self::TopicGone => "topic_gone",
            Self::TopicRecreated => "topic_recreated",
            Self::LogReplaced => "log_replaced",
            Self::ClusterChanged => "cluster_changed",
            Self::PartitionsIncreased => "partitions_increased",
            Self::KeyEncodingChanged => "key_encoding_changed",
            Self::SourceWentBack => "source_went_back",
            Self::TruncatePartitioned => "truncate_partitioned",
            Self::MatchPartitioned => "match_partitioned",
            Self::RecordRefused => "record_refused",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stop: the reason, and one line for the operator, without the row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Stop {
    /// The reason.
    pub reason: StopReason,
    /// Names, types, settings.
    pub detail: String,
}

impl Stop {
    /// Stops for a reason.
    pub fn new(reason: StopReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: one_line(detail.into()) }
    }
}
