//! Code as data: the form in which the catalog keeps what it has compiled, so that a start binds
//! kernels and plans no SQL. A list of operations, each over the values of earlier ones, as `code`
//! has it; a kernel is named by its operation, and bound again to the constants it had.

use arrow_schema::DataType;
use forebay_core::data_type::KeptType;
use serde::{Deserialize, Serialize};

use super::build::note_last_reads;
use super::code::{Code, Node, Op, Slot};
use super::constant::Constant;
use super::function::Argument;
use super::operation::Operation;

/// Compiled expressions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedCode {
    nodes: Vec<SavedNode>,
    /// Places of the expressions' values among the operations.
    outputs: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedNode {
    op: SavedOp,
    data_type: KeptType,
    /// How it reads, for messages.
    text: String,
}

/// As [`Op`], with places for slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedOp {
    Input(u32),
    Literal(Constant),
    Call(Operation, Vec<u32>),
    And(u32, u32),
    Or(u32, u32),
    Not(u32),
    Case(Vec<(u32, u32)>, Option<u32>),
    Coalesce(Vec<u32>),
}

fn places(slots: &[Slot]) -> Vec<u32> {
    slots.iter().map(|slot| slot.0).collect()
}

fn slots(places: &[u32]) -> Vec<Slot> {
    places.iter().copied().map(Slot).collect()
}

impl Code {
    /// It as data; None where a constant is of no type of ours.
    pub(crate) fn saved(&self) -> Option<SavedCode> {
        let nodes = self.nodes.iter().map(|node| {
            Some(SavedNode {
                op: saved_op(&node.op)?,
                data_type: KeptType(node.data_type.clone()),
                text: node.text.to_string(),
            })
        });
        Some(SavedCode {
            nodes: nodes.collect::<Option<_>>()?,
            outputs: places(&self.outputs),
        })
    }

    /// Code that was saved, over columns of the types `inputs`.
    ///
    /// # Errors
    /// It is none of this build: why, for a log.
    pub(crate) fn restored(saved: &SavedCode, inputs: &[DataType]) -> Result<Self, String> {
        let mut nodes: Vec<Node> = Vec::with_capacity(saved.nodes.len());
        for node in &saved.nodes {
            let op = restored_op(&node.op, &nodes)?;
            if let Op::Input(column) = op
                && inputs.get(column as usize) != Some(&node.data_type.0)
            {
                return Err(format!("column {} is another by now", node.text));
            }
            let constant = match &op {
                Op::Input(_) => false,
                op => op.reads().iter().all(|slot| nodes[slot.index()].constant),
            };
            nodes.push(Node {
                op,
                data_type: node.data_type.0.clone(),
                text: node.text.as_str().into(),
                constant,
                last_reads: Vec::new(),
            });
        }
        let outputs = slots(&saved.outputs);
        check(&outputs, nodes.len())?;
        note_last_reads(&mut nodes, &outputs);
        Ok(Self { nodes, outputs })
    }
}

fn saved_op(op: &Op) -> Option<SavedOp> {
    Some(match op {
        Op::Input(column) => SavedOp::Input(*column),
        Op::Literal(array) => SavedOp::Literal(Constant::of(array)?),
        Op::Call {
            operation, args, ..
        } => SavedOp::Call(operation.clone(), places(args)),
        Op::And(left, right) => SavedOp::And(left.0, right.0),
        Op::Or(left, right) => SavedOp::Or(left.0, right.0),
        Op::Not(value) => SavedOp::Not(value.0),
        Op::Case { arms, otherwise } => SavedOp::Case(
            arms.iter().map(|(when, then)| (when.0, then.0)).collect(),
            otherwise.map(|slot| slot.0),
        ),
        Op::Coalesce(args) => SavedOp::Coalesce(places(args)),
    })
}

/// `op` behind the operations `before`.
fn restored_op(op: &SavedOp, before: &[Node]) -> Result<Op, String> {
    let op = match op {
        SavedOp::Input(column) => Op::Input(*column),
        SavedOp::Literal(constant) => Op::Literal(constant.array()),
        SavedOp::Call(operation, args) => return call(operation, slots(args), before),
        SavedOp::And(left, right) => Op::And(Slot(*left), Slot(*right)),
        SavedOp::Or(left, right) => Op::Or(Slot(*left), Slot(*right)),
        SavedOp::Not(value) => Op::Not(Slot(*value)),
        SavedOp::Case(arms, otherwise) => {
            let arms = arms.iter();
            Op::Case {
                arms: arms
                    .map(|(when, then)| (Slot(*when), Slot(*then)))
                    .collect(),
                otherwise: otherwise.map(Slot),
            }
        }
        SavedOp::Coalesce(args) => Op::Coalesce(slots(args)),
    };
    check(&op.reads(), before.len())?;
    Ok(op)
}

fn call(operation: &Operation, args: Vec<Slot>, before: &[Node]) -> Result<Op, String> {
    check(&args, before.len())?;
    let constants = args.iter().map(|slot| Argument {
        constant: match &before[slot.index()].op {
            Op::Literal(array) => Some(array),
            _ => None,
        },
    });
    let kernel = operation.bind(&constants.collect::<Vec<_>>())?;
    Ok(Op::Call {
        operation: operation.clone(),
        kernel,
        args,
    })
}

/// An operation reads earlier ones alone.
fn check(reads: &[Slot], before: usize) -> Result<(), String> {
    match reads.iter().find(|slot| slot.index() >= before) {
        None => Ok(()),
        Some(slot) => Err(format!("operation {} is not there", slot.0)),
    }
}
