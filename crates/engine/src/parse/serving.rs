//! `CREATE FEATURE SERVICE`, `CREATE MODEL`, `CREATE DEPLOYMENT`: what a model reads, which one it
//! is, and where its predictions go.

use datafusion::sql::sqlparser::tokenizer::Token;
use forebay_core::definition::{DeploymentDef, ModelDef, Route};
use forebay_core::limits::MODEL_VERSION_MAX;

use super::cursor::Cursor;
use super::objects::distinct_columns;
use super::statement::ServiceStatement;
use crate::error::{EngineError, Result};

impl Cursor<'_> {
    /// Behind the name: `(request columns) AS SELECT .. FROM request LEFT JOIN ..`.
    pub(crate) fn service(&mut self) -> Result<ServiceStatement> {
        let columns = self.list(|cursor| Ok((cursor.here(), cursor.column()?)))?;
        let request = distinct_columns(columns)?;
        self.expect_words(&["AS"])?;
        Ok(ServiceStatement {
            request,
            body: self.query()?,
        })
    }

    /// Behind the name: `VERSION n FROM 'path' FEATURES service`.
    pub(crate) fn model(&mut self, name: &str) -> Result<ModelDef> {
        self.expect_words(&["VERSION"])?;
        let at = self.here();
        let version = self.whole_number("the model's version")?;
        let problem = match version {
            0 => Some("model versions count from 1; write VERSION 1".to_owned()),
            1..=MODEL_VERSION_MAX => None,
            _ => Some(format!(
                "model versions end at {MODEL_VERSION_MAX} (MODEL_VERSION_MAX); write a smaller one"
            )),
        };
        if let Some(message) = problem {
            return Err(EngineError::Syntax { at, message });
        }
        self.expect_words(&["FROM"])?;
        let path = self.string("the directory of the model version")?;
        self.expect_words(&["FEATURES"])?;
        let service = self.name("the feature service that the model reads")?;
        Ok(ModelDef {
            name: name.to_owned(),
            version,
            path,
            service,
        })
    }

    /// Behind the name: `[USING MODEL m] ON source INTO TOPIC '..' [CARRY (..)] [STICKY BY (..)]
    /// ROUTE ..`.
    pub(crate) fn deployment(&mut self, name: &str) -> Result<DeploymentDef> {
        let model = if self.take_word("USING") {
            self.expect_words(&["MODEL"])?;
            self.name("the model that it serves")?
        } else {
            name.to_owned()
        };
        self.expect_words(&["ON"])?;
        let source = self.name("the source whose events are scored")?;
        self.expect_words(&["INTO", "TOPIC"])?;
        let topic = self.string("the topic of the predictions")?;
        let carry = if self.take_word("CARRY") {
            self.column_names("a carried column")?
        } else {
            Vec::new()
        };
        let sticky_by = if self.take_word("STICKY") {
            self.expect_words(&["BY"])?;
            self.column_names("a column that keeps a request on one version")?
        } else {
            Vec::new()
        };
        self.expect_words(&["ROUTE"])?;
        let at = self.here();
        let mut routes = vec![self.route()?];
        while self.take(&Token::Comma) {
            routes.push(self.route()?);
        }
        if !routes.iter().any(|r| !r.shadow && r.weight > 0) {
            let message =
                "no live arm has a weight above 0; write ROUTE VERSION n WEIGHT 100".to_owned();
            return Err(EngineError::Syntax { at, message });
        }
        let mut versions: Vec<u32> = routes.iter().map(|r| r.version).collect();
        versions.sort_unstable();
        if let Some(pair) = versions.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("version {} has two arms; give it one", pair[0]);
            return Err(EngineError::Syntax { at, message });
        }
        Ok(DeploymentDef {
            name: name.to_owned(),
            model,
            source,
            topic,
            carry,
            sticky_by,
            routes,
        })
    }

    /// `VERSION n WEIGHT w` or `SHADOW VERSION n`.
    fn route(&mut self) -> Result<Route> {
        let shadow = self.take_word("SHADOW");
        self.expect_words(&["VERSION"])?;
        let version = self.whole_number("the model version of the arm")?;
        if shadow {
            return Ok(Route {
                version,
                weight: 0,
                shadow,
            });
        }
        self.expect_words(&["WEIGHT"])?;
        let weight = self.whole_number("the arm's weight")?;
        if self.is_word("CANARY") {
            return Err(
                self.syntax("CANARY is not supported yet; write SHADOW VERSION n and compare, then raise its WEIGHT")
            );
        }
        Ok(Route {
            version,
            weight,
            shadow,
        })
    }
}
