//! Special forms: what is written as a call and is no function of the table, because its type is
//! that of its arguments, or because it does not look at all of them.

use super::function::Type;
use super::refusal::Refusal;

/// A special form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// The first argument that is not NULL; what stands behind it is not looked at.
    Coalesce,
    /// The same of two.
    Nvl,
    /// The second argument where the first is not NULL, else the third.
    Nvl2,
    /// The first argument, or NULL where it equals the second.
    NullIf,
    /// The greatest argument, NULLs aside.
    Greatest,
    /// The least argument, NULLs aside.
    Least,
    /// The moment as of which a request is answered. It takes no argument.
    RequestTime,
    /// The array of its arguments: `ARRAY[a, b]`.
    MakeArray,
}

impl Form {
    pub(super) const ALL: [Self; 8] = [
        Self::Coalesce,
        Self::Nvl,
        Self::Nvl2,
        Self::NullIf,
        Self::Greatest,
        Self::Least,
        Self::RequestTime,
        Self::MakeArray,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Coalesce => "coalesce",
            Self::Nvl => "nvl",
            Self::Nvl2 => "nvl2",
            Self::NullIf => "nullif",
            Self::Greatest => "greatest",
            Self::Least => "least",
            Self::RequestTime => "request_time",
            Self::MakeArray => "make_array",
        }
    }

    pub(super) fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Nvl => &["ifnull"],
            _ => &[],
        }
    }

    /// The form that goes by `name`.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|form| form.name() == name || form.aliases().contains(&name))
    }

    /// Refuse `count` arguments, if there are not as many as it takes.
    pub(super) fn check_count(self, count: usize) -> Result<(), Refusal> {
        let (fits, takes) = match self {
            Self::Coalesce | Self::Greatest | Self::Least | Self::MakeArray => {
                (count >= 1, "at least one argument")
            }
            Self::Nvl | Self::NullIf => (count == 2, "two arguments"),
            Self::Nvl2 => (count == 3, "three arguments"),
            Self::RequestTime => (count == 0, "no argument"),
        };
        if fits {
            return Ok(());
        }
        let name = self.name();
        Err(Refusal::at(
            name,
            format!("{name} takes {takes}, {count} are given; write as many"),
        ))
    }

    /// The types that its arguments widen to; None stands for NULL.
    pub(super) fn coerced(self, types: &[Option<Type>]) -> Result<Vec<Option<Type>>, Refusal> {
        self.check_count(types.len())?;
        let own = usize::from(self == Self::Nvl2);
        let common = self.common(types.get(own..).unwrap_or_default())?;
        let coerced = types.iter().enumerate();
        Ok(coerced
            .map(|(i, of)| if i < own { *of } else { common })
            .collect())
    }

    /// The type of its value over arguments of these types, which are alike; None for NULL.
    pub(super) fn result(self, coerced: &[Option<Type>]) -> Option<Type> {
        match self {
            Self::RequestTime => Some(Type::Timestamp),
            Self::MakeArray => coerced.last().copied().flatten()?.list(),
            _ => coerced.last().copied().flatten(),
        }
    }

    fn common(self, types: &[Option<Type>]) -> Result<Option<Type>, Refusal> {
        let mut common = None;
        for of in types.iter().flatten().copied() {
            let Some(found) = common else {
                common = Some(of);
                continue;
            };
            let found: Type = found;
            common = Some(match (found, of) {
                (found, of) if found == of || of.widens_to(found) => found,
                (found, of) if found.widens_to(of) => of,
                // A constant text may be a time; whether it is one is seen later.
                (Type::Text, time @ (Type::Date | Type::Timestamp))
                | (time @ (Type::Date | Type::Timestamp), Type::Text) => time,
                (found, of) => {
                    let name = match self {
                        Self::MakeArray => "ARRAY",
                        form => form.name(),
                    };
                    let (left, right) = (found.sql(), of.sql());
                    return Err(Refusal::at(
                        name,
                        format!(
                            "{name} has values of different types, {left} and {right}; cast one of them: CAST(.. AS \
                             {left})"
                        ),
                    ));
                }
            });
        }
        Ok(common)
    }
}
