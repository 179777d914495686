//! Feature tests: `CREATE TEST` statements over a catalog, with names looked up and cells typed.
//! Texts come from files beside the definitions; what leaves is data that the binary runs by the
//! probe and by the stream. A test is no object of a catalog: nothing here is applied or saved.
//!
//! What a view answers is asked like everything else, through a service: for each view that a test
//! expects, one that selects all of its features is planned beside the user's own.

mod cells;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use forebay_core::limits::FEATURE_TEST_MAX_ROWS;
use forebay_core::ports::CompiledService;
use forebay_core::source::{Column, SourceDef, sql_name};
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::ServiceSpec;

use crate::catalog::{Catalog, DefinitionFile};
use crate::error::{EngineError, Location, Result, listed};
use crate::parse::{
    ExpectClause, GivenClause, GivenWords, ObjectKind, Table, TestStatement, parse_tests,
};
use crate::scalar::parse_time;
use cells::{ColumnValues, batch_of, typed};

/// Tests over one catalog.
#[derive(Debug)]
pub struct FeatureTests {
    /// The definitions, and a service for each view that a test expects.
    pub catalog: Catalog,
    /// In the order of files and statements.
    pub tests: Vec<FeatureTest>,
}

/// One test.
#[derive(Debug)]
pub struct FeatureTest {
    /// Its name, one of a kind over all files.
    pub name: String,
    /// Where it begins.
    pub at: Location,
    /// Its events, in order of arrival.
    pub given: Vec<Given>,
    /// What is to be answered.
    pub expect: Vec<Expectation>,
}

/// Events of one source.
#[derive(Debug)]
pub struct Given {
    /// The source.
    pub source: Arc<SourceDef>,
    /// What it brings.
    pub events: GivenEvents,
    /// Where each event stands.
    pub places: Vec<Location>,
}

/// How events are given.
#[derive(Debug)]
pub enum GivenEvents {
    /// Rows in the source's schema.
    Rows(RecordBatch),
    /// Records as they stand in the topic, to be decoded.
    Records(Vec<String>),
}

/// What one EXPECT asks and what is to be answered.
#[derive(Debug)]
pub struct Expectation {
    /// Where the name stands.
    pub at: Location,
    /// As of when.
    pub at_us: Micros,
    /// View or service.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// Which service of the catalog answers.
    pub service: Arc<dyn CompiledService>,
    /// One row for each expected row: the service's request columns.
    pub request: RecordBatch,
    /// Request columns that the test writes.
    pub keys: Vec<usize>,
    /// The features that the test expects.
    pub features: Vec<ExpectedFeature>,
    /// Where each expected row stands.
    pub places: Vec<Location>,
}

/// One feature that a test expects.
#[derive(Debug)]
pub struct ExpectedFeature {
    /// Its place among the service's features.
    pub index: usize,
    /// A value for each row.
    pub values: Vec<Value>,
}

impl FeatureTests {
    /// The tests of `files` over `catalog`.
    ///
    /// # Errors
    /// The first thing that is wrong with a test, with file, line and column.
    pub fn read(catalog: &Catalog, files: &[DefinitionFile]) -> Result<Self> {
        let mut statements = Vec::new();
        for file in files {
            statements.extend(parse_tests(&file.path, &file.text)?);
        }
        check_names(&statements)?;
        let kinds = kinds(catalog, &statements)?;
        let views: BTreeSet<&str> = kinds
            .iter()
            .filter(|(_, kind)| **kind == ObjectKind::View)
            .map(|(name, _)| name.1.as_str())
            .collect();
        let services = service_names(catalog, &views);
        let catalog = with_services(catalog, &services)?;
        let tests = statements.iter().map(|statement| {
            let resolver = Resolver {
                catalog: &catalog,
                services: &services,
                object: object_of(statement),
            };
            resolver.test(statement, &kinds)
        });
        let tests = tests.collect::<Result<_>>()?;
        Ok(Self { catalog, tests })
    }
}

/// The kind that an EXPECT means, by the kind and the name that it writes.
type Kinds = BTreeMap<(Option<ObjectKind>, String), ObjectKind>;

fn check_names(tests: &[TestStatement]) -> Result<()> {
    let mut names: BTreeMap<&str, &Location> = BTreeMap::new();
    for test in tests {
        if let Some(first) = names.insert(&test.name, &test.at) {
            let (object, first) = (format!("test {}", test.name), first.clone());
            let message = format!("{object} is there twice, first at {first}; rename one");
            let at = test.at.clone();
            return Err(EngineError::refused(at, &object, message));
        }
    }
    Ok(())
}

fn kinds(catalog: &Catalog, tests: &[TestStatement]) -> Result<Kinds> {
    let mut kinds = Kinds::new();
    for test in tests {
        for expect in &test.expect {
            let kind = kind_of(catalog, test, expect)?;
            kinds.insert((expect.kind, expect.name.clone()), kind);
        }
    }
    Ok(kinds)
}

fn kind_of(catalog: &Catalog, test: &TestStatement, expect: &ExpectClause) -> Result<ObjectKind> {
    let name = &expect.name;
    let is_view = catalog.views().contains_key(name);
    let is_service = catalog.services().contains_key(name);
    let unknown = |message: String| {
        let at = expect.at.clone();
        Err(EngineError::unknown(at, &object_of(test), message))
    };
    match expect.kind {
        Some(ObjectKind::View) if !is_view => unknown(format!(
            "there is no feature view {name}; known: {}",
            listed(catalog.views().keys())
        )),
        Some(ObjectKind::Service) if !is_service => unknown(format!(
            "there is no feature service {name}; known: {}",
            listed(catalog.services().keys())
        )),
        Some(kind) => Ok(kind),
        None => match (is_view, is_service) {
            (true, false) => Ok(ObjectKind::View),
            (false, true) => Ok(ObjectKind::Service),
            (true, true) => unknown(format!(
                "there is a feature view and a feature service {name}; write EXPECT FEATURE VIEW {name} or EXPECT \
                 FEATURE SERVICE {name}"
            )),
            (false, false) => unknown(format!(
                "there is no feature view and no feature service {name}; known views: {}; known services: {}",
                listed(catalog.views().keys()),
                listed(catalog.services().keys())
            )),
        },
    }
}

fn object_of(test: &TestStatement) -> String {
    format!("test {}", test.name)
}

/// A name for the service that asks each of `views`, which no service of `catalog` has.
fn service_names(catalog: &Catalog, views: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let names = (0..).map(|number: usize| format!("test {number}"));
    let names = names.filter(|name| !catalog.services().contains_key(name));
    let views = views.iter().map(|view| (*view).to_owned());
    views.zip(names).collect()
}

/// `catalog` and the services that ask its views.
fn with_services(catalog: &Catalog, services: &BTreeMap<String, String>) -> Result<Catalog> {
    if services.is_empty() {
        return Ok(catalog.clone());
    }
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut text = String::new();
    for (name, service) in services {
        let view = &catalog.views()[name];
        let key = &view.spec().key;
        let columns = key.iter();
        let columns: Vec<String> = columns
            .map(|c| format!("{} {}", quoted(&c.name), sql_name(&c.data_type)))
            .collect();
        let using: Vec<String> = key.iter().map(|c| quoted(&c.name)).collect();
        let features = view.features();
        let features = features.fields().iter();
        let features: Vec<String> = features
            .map(|f| format!("v.{}", quoted(f.name())))
            .collect();
        let _infallible = writeln!(
            text,
            "CREATE FEATURE SERVICE {} ({}) AS SELECT {} FROM request LEFT JOIN {} AS v USING ({});",
            quoted(service),
            columns.join(", "),
            features.join(", "),
            quoted(name),
            using.join(", ")
        );
    }
    let path = "tests".to_owned();
    Ok(catalog.plan(&[DefinitionFile { path, text }])?.catalog)
}

/// Looks up what one test names.
struct Resolver<'a> {
    catalog: &'a Catalog,
    /// By view, the service that asks it.
    services: &'a BTreeMap<String, String>,
    /// The test, for errors.
    object: String,
}

impl Resolver<'_> {
    fn test(&self, test: &TestStatement, kinds: &Kinds) -> Result<FeatureTest> {
        let given = test.given.iter().map(|given| self.given(given));
        let given: Vec<Given> = given.collect::<Result<_>>()?;
        let expect = test.expect.iter().map(|expect| {
            let kind = kinds[&(expect.kind, expect.name.clone())];
            self.expectation(expect, kind)
        });
        let expect: Vec<Expectation> = expect.collect::<Result<_>>()?;
        let events: usize = given.iter().map(|given| given.places.len()).sum();
        let rows: usize = expect.iter().map(|expect| expect.places.len()).sum();
        for (what, rows) in [("gives", events), ("expects", rows)] {
            if rows > FEATURE_TEST_MAX_ROWS {
                let at = test.at.clone();
                let message = format!(
                    "{} {what} {rows} rows, more than {FEATURE_TEST_MAX_ROWS} (FEATURE_TEST_MAX_ROWS); split it",
                    self.object
                );
                return Err(EngineError::Limit { at, message });
            }
        }
        Ok(FeatureTest {
            name: test.name.clone(),
            at: test.at.clone(),
            given,
            expect,
        })
    }

    fn given(&self, given: &GivenClause) -> Result<Given> {
        let sources = self.catalog.sources();
        let Some(source) = sources.get(&given.source) else {
            let known = listed(sources.keys());
            let message = format!("there is no source {}; known: {known}", given.source);
            return Err(self.unknown(&given.at, message));
        };
        let source = Arc::clone(source);
        let table = match &given.what {
            GivenWords::Records(_) if !source.format.format().text => {
                return Err(EngineError::Syntax {
                    at: given.at.clone(),
                    message: format!(
                        "records of source {} are {}, which no text holds; write (columns) VALUES (..)",
                        source.name,
                        source.format.name()
                    ),
                });
            }
            GivenWords::Records(records) => {
                let (places, records) = records.iter().cloned().unzip();
                return Ok(Given {
                    source,
                    events: GivenEvents::Records(records),
                    places,
                });
            }
            GivenWords::Values(table) => table,
        };
        let owner = format!("source {}", source.name);
        let mut columns: ColumnValues = vec![None; source.columns.len()];
        for (number, (at, name)) in table.columns.iter().enumerate() {
            let index = self.find(&source.columns, name, at, &owner)?;
            if columns[index].is_some() {
                return Err(self.twice(at, name));
            }
            let column = &source.columns[index];
            let domain = source.domains.get(&column.name).copied();
            let cells = table.rows.iter().map(|(_, cells)| &cells[number]);
            let values = cells.map(|cell| cells::given(cell, column, domain, &self.object));
            columns[index] = Some(values.collect::<Result<_>>()?);
        }
        let left_out = source.columns.iter().zip(&columns);
        let mut left_out = left_out.filter(|(column, values)| !column.nullable && values.is_none());
        if let Some((column, _)) = left_out.next() {
            let message = format!(
                "{owner} declares {} {} NOT NULL; give it a value in each row",
                column.name,
                sql_name(&column.data_type)
            );
            return Err(self.refused(&given.at, message));
        }
        let rows = batch_of(source.schema(), columns, table.rows.len())?;
        Ok(Given {
            source,
            events: GivenEvents::Rows(rows),
            places: table.rows.iter().map(|(at, _)| at.clone()).collect(),
        })
    }

    fn expectation(&self, expect: &ExpectClause, kind: ObjectKind) -> Result<Expectation> {
        let name = match kind {
            ObjectKind::View => &self.services[&expect.name],
            _ => &expect.name,
        };
        let service = Arc::clone(&self.catalog.services()[name]);
        let spec = Arc::clone(service.spec());
        let owner = format!("{kind} {}", expect.name);
        let (at, text) = &expect.instant;
        let Some(at_us) = parse_time(text) else {
            let message = format!("'{text}' is no instant; write TIMESTAMP '2013-01-31 12:00:00'");
            return Err(self.refused(at, message));
        };
        let (columns, features) = self.asked(&expect.table, &spec, &owner)?;
        let mut missing = spec
            .request
            .iter()
            .zip(&columns)
            .filter(|(column, values)| {
                values.is_none() && (kind == ObjectKind::View || !column.nullable)
            });
        if let Some((column, _)) = missing.next() {
            let message = format!(
                "{owner} is asked by {}; name that column and give it a value in each row",
                column.name
            );
            return Err(self.refused(&expect.at, message));
        }
        if features.is_empty() {
            let message =
                format!("no feature of {owner} is expected; name at least one column of it");
            return Err(self.refused(&expect.at, message));
        }
        let keys = columns.iter().enumerate();
        let keys = keys.filter_map(|(index, values)| values.as_ref().map(|_| index));
        let rows = expect.table.rows.len();
        let request = spec.request.iter();
        let request = request.map(|c| Field::new(&c.name, c.data_type.clone(), true));
        let request = Arc::new(Schema::new(request.collect::<Vec<_>>()));
        Ok(Expectation {
            at: expect.at.clone(),
            at_us,
            kind,
            name: expect.name.clone(),
            keys: keys.collect(),
            request: batch_of(request, columns, rows)?,
            service,
            features,
            places: (expect.table.rows.iter().map(|(at, _)| at.clone())).collect(),
        })
    }

    /// The columns of `table` as request columns of a service, where they are some, and as its
    /// features. A name that is both is the request's where it stands first, the feature's where it
    /// stands again.
    fn asked(
        &self,
        table: &Table,
        spec: &ServiceSpec,
        owner: &str,
    ) -> Result<(ColumnValues, Vec<ExpectedFeature>)> {
        let mut columns: ColumnValues = vec![None; spec.request.len()];
        let mut features = Vec::<ExpectedFeature>::new();
        for (number, (at, name)) in table.columns.iter().enumerate() {
            let asked = spec.request.iter().position(|c| c.name == *name);
            if let Some(index) = asked.filter(|index| columns[*index].is_none()) {
                columns[index] = Some(self.column(table, number, &spec.request[index])?);
                continue;
            }
            let index = spec.features.iter().position(|c| c.name == *name);
            let is_again = index.is_none_or(|index| features.iter().any(|f| f.index == index));
            let index = match index {
                Some(index) if !is_again => index,
                None if asked.is_none() => {
                    let known: Vec<Column> =
                        spec.request.iter().chain(&spec.features).cloned().collect();
                    self.find(&known, name, at, owner)?
                }
                _ => return Err(self.twice(at, name)),
            };
            let values = self.column(table, number, &spec.features[index])?;
            features.push(ExpectedFeature { index, values });
        }
        Ok((columns, features))
    }

    /// Column `number` of `table` as values of `column`.
    fn column(&self, table: &Table, number: usize, column: &Column) -> Result<Vec<Value>> {
        let cells = table.rows.iter().map(|(_, cells)| &cells[number]);
        cells
            .map(|cell| typed(cell, column, &self.object))
            .collect()
    }

    fn find(&self, columns: &[Column], name: &str, at: &Location, owner: &str) -> Result<usize> {
        let found = columns.iter().position(|column| column.name == *name);
        found.ok_or_else(|| {
            let known = listed(columns.iter().map(|column| &column.name));
            self.unknown(at, format!("{owner} has no column {name}; known: {known}"))
        })
    }

    fn twice(&self, at: &Location, name: &str) -> EngineError {
        self.refused(at, format!("column {name} is named twice; name it once"))
    }

    fn refused(&self, at: &Location, message: String) -> EngineError {
        EngineError::refused(at.clone(), &self.object, message)
    }

    fn unknown(&self, at: &Location, message: String) -> EngineError {
        EngineError::unknown(at.clone(), &self.object, message)
    }
}
