//! XGBoost's objectives that give one output: how the file's `base_score` becomes the first term of
//! the margin, and how a margin becomes the score. The formulas are XGBoost's, in f32, with glibc's
//! `expf` and `logf` (`crate::math`).

use crate::math::{expf, logf};

/// From prediction space to margin space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Identity,
    Logit,
    Log,
}

/// From margin to score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Identity,
    Sigmoid,
    Exp,
    /// 1 above zero, else 0.
    Step,
}

/// An objective, by its name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objective {
    name: &'static str,
    link: Link,
    output: Output,
}

const OBJECTIVES: [Objective; 14] = [
    Objective {
        name: "binary:logistic",
        link: Link::Logit,
        output: Output::Sigmoid,
    },
    Objective {
        name: "binary:logitraw",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "binary:hinge",
        link: Link::Identity,
        output: Output::Step,
    },
    Objective {
        name: "reg:logistic",
        link: Link::Logit,
        output: Output::Sigmoid,
    },
    Objective {
        name: "reg:squarederror",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "reg:squaredlogerror",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "reg:absoluteerror",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "reg:pseudohubererror",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "reg:gamma",
        link: Link::Log,
        output: Output::Exp,
    },
    Objective {
        name: "reg:tweedie",
        link: Link::Log,
        output: Output::Exp,
    },
    Objective {
        name: "count:poisson",
        link: Link::Log,
        output: Output::Exp,
    },
    Objective {
        name: "rank:pairwise",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "rank:ndcg",
        link: Link::Identity,
        output: Output::Identity,
    },
    Objective {
        name: "rank:map",
        link: Link::Identity,
        output: Output::Identity,
    },
];

impl Objective {
    /// The objective `name`; None when it is not served.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        OBJECTIVES.iter().find(|o| o.name == name).copied()
    }

    /// Names of all that are served, for error texts.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        OBJECTIVES.iter().map(|o| o.name).collect()
    }

    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The margin of `base_score`.
    pub(crate) fn base_margin(&self, base_score: f32) -> f32 {
        match self.link {
            Link::Identity => base_score,
            Link::Logit => -logf(1.0 / base_score - 1.0),
            Link::Log => logf(base_score),
        }
    }

    /// The score of a margin.
    pub(crate) fn score(&self, margin: f32) -> f32 {
        /// XGBoost keeps `exp` below overflow with this bound.
        const EXPONENT_MAX: f32 = 88.7;
        match self.output {
            Output::Identity => margin,
            Output::Sigmoid => 1.0 / (expf((-margin).min(EXPONENT_MAX)) + 1.0),
            Output::Exp => expf(margin),
            Output::Step => f32::from(u8::from(margin > 0.0)),
        }
    }
}
