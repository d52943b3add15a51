#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! | Module | What it is |
//! |---|---|
//! | [`plan`] | what a group wants, before anybody has a key: a TOML file |
//! | [`define`] | from a plan and node records to a definition |
//! | [`identity`] | who an operator is: the node key and a name |
//! | [`keystores`] | an operator's keystores, whoever wrote them: whose they are, and why one does not open |
//! | [`names`] | what to call operators before they have joined |
//! | [`folder`] | the data folder of one operator, locked by one process |
//! | [`entrance`] | what is checked before anything is sent |
//! | [`attempt`] | what one attempt keeps beside the journal: the seed and the marks |
//! | [`journal`] | the append-only file of entries |
//! | [`secrecy`] | secrets that others on the machine can read |
//! | [`staging`] | keystores before the vote |
//! | [`publication`] | the results get their final names, the lock last |
//! | [`results`] | what a folder has of the results, once the ceremony has ended |
//! | [`product`] | what the shares sign, and the lock and deposits that come of it |
//! | [`addresses`] | where the other operators were reached |
//! | [`execution`] | an execution client, asked whether contract wallets accept signatures |
//! | [`moving`] | one operator's folder to another machine, and backups |
//! | [`restored`] | the mark of a folder that was made of a backup |
//! | [`backups`] | what people are told about backups |
//! | [`retirement`] | the mark of a folder that has moved to another machine |
//! | [`records`] | what the journal's records hold |
//! | [`wire`] | what two operators say to each other in a ceremony, byte for byte |
//! | [`sync`] | who lacks which entry of the journal: a pure state machine |
//! | [`twins`] | whether an identity is used by two processes at once |
//! | [`view`] | the board as synchronisation and screens see it |
//! | [`conductor`] | where protocol, disk and network meet |
//! | [`progress`] | what a screen or a program is told while a ceremony goes on |
//! | [`files`] | durable, atomic writes that never overwrite |
//! | [`randomness`] | 32 bytes that nobody can foresee |
//! | [`verify`] | verification of what a ceremony made |
//! | [`problem`] | an error as a person needs it: what, why, what to do |

pub mod addresses;
pub mod attempt;
pub mod backups;
pub mod conductor;
pub mod define;
pub mod entrance;
pub mod execution;
pub mod files;
pub mod folder;
pub mod holding;
pub mod identity;
pub mod journal;
pub mod keystores;
pub mod moving;
pub mod names;
pub mod plan;
pub mod problem;
pub mod product;
pub mod progress;
pub mod publication;
pub mod randomness;
pub mod records;
pub mod restored;
pub mod results;
pub mod retirement;
pub mod secrecy;
pub mod staging;
pub mod sync;
pub mod twins;
pub mod verify;
pub mod view;
pub mod wire;
