//! A deployment, compiled: which columns of an event make its request, which are carried, and which
//! model version an event is routed to. The choice is a pure function of the event's sticky key,
//! made once, when the pending score is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use forebay_core::definition::{DeploymentDef, Route};
use forebay_core::fault::FaultKind;
use forebay_core::key::KeyBuffer;
use forebay_core::ports::{CompiledService, Origin};
use forebay_core::prediction::{Arm, PendingScore, PredictionKey, Role};
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::Micros;
use forebay_core::view::ServiceView;
use forebay_core::{PortError, PortResult};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::PipelineError;
use crate::pending::encode_row;

/// A deployment that scores every event of one source.
#[derive(Debug, Clone)]
pub struct Deployment {
    def: Arc<DeploymentDef>,
    source: Arc<SourceDef>,
    service: Arc<dyn CompiledService>,
    request: Vec<usize>,
    carry: Vec<usize>,
    sticky: Vec<usize>,
    /// Keys by which the service's views are asked and that are not the sticky one, each once, with
    /// a view that it is for.
    asked: Vec<(Vec<usize>, String)>,
    /// What a pending score's row holds: request, carried, and those sticky columns that are
    /// neither.
    row: Vec<usize>,
}

/// The keys of one deployment for the rows of a batch.
#[derive(Debug)]
pub struct DeploymentKeys {
    /// By which rows are routed; none where the deployment has no sticky columns.
    pub sticky: KeyBuffer,
    /// Rows that can never be scored, and why.
    pub refused: BTreeMap<usize, String>,
}

/// A pending score with the shard that holds it: that of its sticky key, which keeps one entity's
/// predictions in order.
#[derive(Debug, Clone)]
pub struct PlacedScore {
    /// Row of the batch.
    pub row: usize,
    /// Shard.
    pub shard: u16,
    /// The score.
    pub score: Arc<PendingScore>,
}

impl Deployment {
    /// Bind `def` to its source and its model's service: every request column must be a column of
    /// the source with the same name and type.
    ///
    /// # Errors
    /// [`PipelineError::DeploymentColumn`].
    pub fn bind(
        def: Arc<DeploymentDef>,
        source: Arc<SourceDef>,
        service: Arc<dyn CompiledService>,
    ) -> Result<Self, PipelineError> {
        let find = |name: &str, wanted| column_of(&source, &def, name, wanted);
        let named = |names: &[String]| {
            let found = names.iter().map(|name| find(name, None));
            found.collect::<Result<Vec<_>, _>>()
        };
        let spec = service.spec();
        let request = spec
            .request
            .iter()
            .map(|c| find(&c.name, Some(c)))
            .collect::<Result<Vec<_>, _>>()?;
        let carry = named(&def.carry)?;
        let sticky = match spec.views.first() {
            _ if !def.sticky_by.is_empty() => named(&def.sticky_by)?,
            Some(view) => key_of(view, &request),
            None => Vec::new(),
        };
        let mut row: Vec<usize> = request.iter().chain(&carry).copied().collect();
        row.extend(
            sticky
                .iter()
                .filter(|i| !request.contains(i) && !carry.contains(i)),
        );
        let mut asked: Vec<(Vec<usize>, String)> = Vec::new();
        for view in &spec.views {
            let key = key_of(view, &request);
            if key != sticky && asked.iter().all(|(known, _)| *known != key) {
                asked.push((key, view.view.name.clone()));
            }
        }
        Ok(Self {
            def,
            source,
            service,
            request,
            carry,
            sticky,
            asked,
            row,
        })
    }

    /// The definition.
    #[must_use]
    pub fn def(&self) -> &Arc<DeploymentDef> {
        &self.def
    }

    /// What its routes lead to.
    pub(crate) fn arms(&self) -> impl Iterator<Item = Arm> {
        self.def.routes.iter().map(|route| Arm {
            version: route.version,
            role: if route.shadow {
                Role::Shadow
            } else {
                Role::Live
            },
        })
    }

    /// Where the predictions of `role` go: each role has a topic for itself.
    pub(crate) fn topic_of(&self, role: Role) -> String {
        match role {
            Role::Live => self.def.topic.clone(),
            Role::Shadow => format!("{}.shadow", self.def.topic),
        }
    }

    /// The service whose features the model reads.
    #[must_use]
    pub fn service(&self) -> &Arc<dyn CompiledService> {
        &self.service
    }

    /// Name of the source that it scores.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source.name
    }

    /// Columns of a pending score's row: the request's, the carried ones, then what else the sticky
    /// key needs.
    #[must_use]
    pub(crate) fn row_columns(&self) -> Vec<Column> {
        self.row
            .iter()
            .map(|i| self.source.columns[*i].clone())
            .collect()
    }

    /// Indices of the sticky key's columns in a pending score's row.
    #[must_use]
    pub(crate) fn sticky_in_row(&self) -> Vec<usize> {
        self.sticky
            .iter()
            .filter_map(|i| self.row.iter().position(|r| r == i))
            .collect()
    }

    /// The carried columns.
    #[must_use]
    pub fn carry_columns(&self) -> Vec<Column> {
        self.carry
            .iter()
            .map(|i| self.source.columns[*i].clone())
            .collect()
    }

    /// Number of request columns in a pending score's row.
    #[must_use]
    pub(crate) fn request_columns(&self) -> usize {
        self.request.len()
    }

    /// The keys of `rows`: the sticky one, and those by which the service's views are asked; a view
    /// of another source has not seen them. A row with one over its limit is refused.
    ///
    /// # Errors
    /// A key cannot be encoded at all.
    pub(crate) fn keys(&self, rows: &RecordBatch) -> PortResult<DeploymentKeys> {
        let mut refused = BTreeMap::new();
        let mut encode = |key: &[usize], whose: &str| {
            let (keys, too_long) = KeyBuffer::encode_within(&pick(rows, key))?;
            for row in too_long {
                let words = || format!("{whose} is {}", FaultKind::Key);
                refused.entry(row.index()).or_insert_with(words);
            }
            Ok::<KeyBuffer, PortError>(keys)
        };
        let mut sticky = KeyBuffer::default();
        if !self.sticky.is_empty() {
            sticky = encode(&self.sticky, "the key that routes it")?;
        }
        for (key, view) in &self.asked {
            encode(key, &format!("the key by which it asks view '{view}'"))?;
        }
        Ok(DeploymentKeys { sticky, refused })
    }

    /// The pending scores of the rows of one decoded batch, with their sticky keys: for each row
    /// one live and as many shadow as the route says.
    ///
    /// # Errors
    /// A column that cannot be in a request.
    pub fn pending(
        &self,
        rows: &RecordBatch,
        times: &[Micros],
        origin: &Origin,
        keys: &KeyBuffer,
        shards: u16,
    ) -> Result<Vec<PlacedScore>, PipelineError> {
        let columns = pick(rows, &self.row);
        let mut placed = Vec::with_capacity(rows.num_rows());
        for (row, event_time_us) in times.iter().copied().enumerate() {
            let partition = &origin.partitions[origin.partition[row] as usize];
            let event_id = || {
                format!(
                    "{}/{}/{}",
                    partition.topic, partition.partition, origin.offset[row]
                )
                .into_bytes()
            };
            let sticky = if keys.is_empty() { None } else { keys.get(row) }
                .map_or_else(event_id, <[u8]>::to_vec);
            let shard = forebay_core::key::shard_of(&sticky, shards);
            let request = encode_row(&columns, row)?;
            for (model_version, role) in choose(&self.def.routes, &self.def.name, &sticky) {
                let key = PredictionKey {
                    deployment: self.def.name.clone(),
                    model_version,
                    role,
                    topic: partition.topic.to_string(),
                    partition: partition.partition,
                    offset: origin.offset[row],
                };
                let score = PendingScore {
                    key,
                    event_time_us,
                    request: request.clone(),
                };
                placed.push(PlacedScore {
                    row,
                    shard,
                    score: Arc::new(score),
                });
            }
        }
        Ok(placed)
    }
}

/// Index of column `name` of `source`, which has the type of `wanted` where one is given.
fn column_of(
    source: &SourceDef,
    def: &DeploymentDef,
    name: &str,
    wanted: Option<&Column>,
) -> Result<usize, PipelineError> {
    let mut columns = source.columns.iter().enumerate();
    let found = columns.find(|(_, column)| column.name == name);
    match found {
        Some((index, column)) if wanted.is_none_or(|w| w.data_type == column.data_type) => {
            Ok(index)
        }
        found => Err(PipelineError::DeploymentColumn {
            deployment: def.name.clone(),
            column: name.to_owned(),
            wanted: wanted.map_or_else(|| "any type".to_owned(), |w| w.data_type.to_string()),
            source_name: source.name.clone(),
            found: found.map_or_else(
                || "does not have".to_owned(),
                |(_, column)| format!("has as {}", column.data_type),
            ),
        }),
    }
}

/// The source's columns that make the key by which `view` is asked; `request` are those of the
/// request.
fn key_of(view: &ServiceView, request: &[usize]) -> Vec<usize> {
    let key = view.key_columns.iter();
    key.map(|column| request[*column]).collect()
}

fn pick(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns
        .iter()
        .map(|column| Arc::clone(rows.column(*column)))
        .collect()
}

/// The versions that score a request: one live arm by weight, sticky by key, and every shadow arm.
/// The salt is the deployment's name, so that raising one arm's weight only adds entities to it.
#[must_use]
pub fn choose(routes: &[Route], deployment: &str, sticky_key: &[u8]) -> Vec<(u32, Role)> {
    let mut salted = deployment.as_bytes().to_vec();
    salted.push(0);
    salted.extend_from_slice(sticky_key);
    let live = || routes.iter().filter(|r| !r.shadow);
    let total: u64 = live().map(|r| u64::from(r.weight)).sum();
    // The top 32 bits times the total weight, over 2^32: uniform and free of overflow.
    let mut point = ((xxh3_64(&salted) >> 32) * total) >> 32;
    let mut chosen = Vec::with_capacity(1 + routes.len());
    for route in live() {
        if point < u64::from(route.weight) {
            chosen.push((route.version, Role::Live));
            break;
        }
        point -= u64::from(route.weight);
    }
    chosen.extend(
        routes
            .iter()
            .filter(|r| r.shadow)
            .map(|r| (r.version, Role::Shadow)),
    );
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(version: u32, weight: u32, shadow: bool) -> Route {
        Route {
            version,
            weight,
            shadow,
        }
    }

    #[test]
    fn weights_share_the_keys_and_a_key_stays_with_its_version() {
        let routes = [route(1, 90, false), route(2, 10, false), route(3, 0, true)];
        let mut second = 0;
        for key in 0..10_000_u32 {
            let chosen = choose(&routes, "d", &key.to_le_bytes());
            assert_eq!(chosen, choose(&routes, "d", &key.to_le_bytes()));
            assert_eq!(chosen[1], (3, Role::Shadow));
            second += u32::from(chosen[0].0 == 2);
        }
        assert!(
            (800..1200).contains(&second),
            "{second} of 10,000 keys on a weight of 10 %"
        );
    }

    #[test]
    fn raising_the_last_arm_only_adds_keys_to_it() {
        let before = [route(1, 95, false), route(2, 5, false)];
        let after = [route(1, 80, false), route(2, 20, false)];
        for key in 0..5_000_u32 {
            let key = key.to_le_bytes();
            if choose(&before, "d", &key)[0].0 == 2 {
                assert_eq!(choose(&after, "d", &key)[0].0, 2);
            }
        }
    }
}
