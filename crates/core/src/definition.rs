//! What the statements that are not views or services define: entities, models, deployments,
//! monitors. `engine` parses them, `infer`, `pipeline` and `monitor` act on them. Pure data.

use crate::source::Column;
use crate::time::Micros;

/// `CREATE ENTITY airport (origin VARCHAR)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityDef {
    /// Name in SQL.
    pub name: String,
    /// Key columns in order.
    pub key: Vec<Column>,
}

/// `CREATE MODEL late_arrival VERSION 1 FROM 'models/late_arrival/1' FEATURES delay_features`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDef {
    /// Name in SQL.
    pub name: String,
    /// Version, from 1.
    pub version: u32,
    /// Directory of the version, relative to the definitions' folder or absolute.
    pub path: String,
    /// Feature service that it reads.
    pub service: String,
}

/// One arm of a deployment's ROUTE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Model version.
    pub version: u32,
    /// Share of the traffic; the weights of one deployment need not add up to 100.
    pub weight: u32,
    /// True for SHADOW: scored, published to `<topic>.shadow`, never live.
    pub shadow: bool,
}

/// `CREATE DEPLOYMENT late_arrival ON departures INTO TOPIC '..' CARRY (..) STICKY BY (..) ROUTE
/// ..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentDef {
    /// Name in SQL; the model has the same name unless `USING MODEL` says otherwise.
    pub name: String,
    /// Model that it serves.
    pub model: String,
    /// Source whose events are scored.
    pub source: String,
    /// Topic of the predictions.
    pub topic: String,
    /// Columns copied from the event into the prediction.
    pub carry: Vec<String>,
    /// Columns whose values keep a request on one version; empty: the service's first entity.
    pub sticky_by: Vec<String>,
    /// At least one live arm.
    pub routes: Vec<Route>,
}

/// `LABELS FROM arrivals USING (flight_id) AS arr_delay > 15 WITHIN INTERVAL '1' DAY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelDef {
    /// Source that carries the label.
    pub source: String,
    /// Columns that join a label to a prediction; carried by the deployment.
    pub using: Vec<String>,
    /// Boolean SQL expression over the label source's columns.
    pub expression: String,
    /// Greatest distance from prediction to label in event time, microseconds.
    pub within_us: Micros,
}

/// When a drift score raises an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AlertThreshold {
    /// `ALERT AT FALSE ALARM RATE a`: calibrated on the reference.
    FalseAlarmRate(f64),
    /// `ALERT WHEN psi > x`.
    Psi(f64),
}

/// `CREATE MONITOR late_arrival_quality ON MODEL late_arrival WINDOW .. LABELS .. REFERENCE
/// TRAINING SET '..' ALERT ..`.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorDef {
    /// Name in SQL.
    pub name: String,
    /// Model whose predictions it watches.
    pub model: String,
    /// Length of a window in event time, microseconds; windows are aligned to the epoch.
    pub window_us: Micros,
    /// How long after its end a window stays open, microseconds.
    pub lateness_us: Micros,
    /// Where labels come from; None watches drift alone.
    pub labels: Option<LabelDef>,
    /// Name of the reference (a profile beside the model version, made from that training set).
    pub reference: String,
    /// Alarm rule.
    pub threshold: AlertThreshold,
    /// `FOR k OF m WINDOWS`.
    pub raised_windows: u32,
    /// See `raised_windows`.
    pub of_windows: u32,
}
