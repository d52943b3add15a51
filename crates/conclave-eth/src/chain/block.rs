//! Beacon blocks of Electra and Fulu, full and blinded: checked, hashed, read, and made ready to be published.
//!
//! A block stays the SSZ that the beacon node sent; nothing is rewritten between the node that made it and the nodes
//! that publish it. A blinded block has the header of its execution payload in place of the payload, and the same
//! root: so one signature is for both. Source: consensus-specs electra and fulu `beacon-chain.md`; Beacon API
//! `produceBlockV3`, `publishBlockV2`, `publishBlindedBlockV2`.

use serde_json::{Value, json};

use conclave_crypto::hash::Hash;

use super::{
    json::hex_text,
    ssz::{Schema, SszError, join},
    types::{BeaconBlockHeader, SignatureBytes},
};
use crate::chain::{fork::Fork, sizes::Sizes};

/// `DEPOSIT_CONTRACT_TREE_DEPTH` + 1: hashes of a deposit's proof.
const DEPOSIT_PROOF: usize = 33;

/// The first bytes of all block contents: the offset of the block, behind three offsets.
const CONTENTS_START: [u8; 4] = 12_u32.to_le_bytes();

/// Why bytes are not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not of the fork's schema.
    #[error("it is no whole block of the fork {fork}: {error}")]
    Schema {
        /// The fork.
        fork: &'static str,
        /// What is wrong.
        error: SszError,
    },
    /// Blobs, proofs and commitments do not belong together.
    #[error("a block with {commitments} blob commitments came with {blobs} blobs and {proofs} proofs")]
    Blobs {
        /// Commitments in the block.
        commitments: usize,
        /// Blobs beside it.
        blobs: usize,
        /// Proofs beside it.
        proofs: usize,
    },
    /// No block of this fork can be signed here.
    #[error("blocks of fork {0} are not known here")]
    Fork(&'static str),
}

/// A block without signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whose schema it follows.
    pub fork: Fork,
    /// Whether it has only the header of its execution payload.
    pub blinded: bool,
    /// The header: what is signed. Its root is the block's.
    pub header: BeaconBlockHeader,
    /// Over the epoch, by the proposer.
    pub randao_reveal: SignatureBytes,
    /// Whatever the proposer likes.
    pub graffiti: [u8; 32],
    /// Who gets the fees: an execution address. Of a blinded block it is the builder's.
    pub fee_recipient: [u8; 20],
    /// Gas limit of the execution payload.
    pub gas_limit: u64,
    /// The time of the execution payload, in Unix seconds.
    pub timestamp: u64,
    /// The execution block that the payload is built on, 32 bytes.
    pub parent_hash: Hash,
    /// The execution block that the payload is, 32 bytes.
    pub block_hash: Hash,
    /// How many blobs belong to it.
    pub commitments: usize,
    /// `BeaconBlock` or `BlindedBeaconBlock` in SSZ.
    pub ssz: Vec<u8>,
}

/// What helps where a beacon node makes a block that the chain would not take.
pub const RESTART: &str =
    "Restart the beacon node and its execution client, or update them, if this goes on.";

/// Why a block of our own beacon nodes is not signed, for people: what is said behind "a block that", with the technical reason in
/// brackets, and what to do about it, a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "see above")]
pub struct Unfit {
    pub why: &'static str,
    pub advice: &'static str,
}

/// Blobs and their proofs: they travel with a full block and are not part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blobs {
    /// `kzg_proofs` in SSZ: 48 bytes each; one for each blob in Electra, 128 in Fulu.
    pub proofs: Vec<u8>,
    /// `blobs` in SSZ: 128 KiB each.
    pub blobs: Vec<u8>,
}

/// The schemas of a chain's blocks.
#[derive(Debug, Clone)]
pub struct BlockSchemas {
    full: Schema,
    blinded: Schema,
    full_body: Schema,
    blinded_body: Schema,
    contents: [(Fork, Schema); 2],
    proofs_per_blob: usize,
}

impl BlockSchemas {
    /// For a preset.
    pub fn new(sizes: &Sizes) -> Self {
        let full_body = body(sizes, false);
        let blinded_body = body(sizes, true);
        let full = block(full_body.clone());
        let contents = |proofs: usize| {
            let limit = sizes.max_blob_commitments_per_block;
            Schema::Container(vec![
                ("block", full.clone()),
                (
                    "kzg_proofs",
                    Schema::list(Schema::Bytes(48), limit.saturating_mul(proofs)),
                ),
                ("blobs", Schema::list(Schema::Bytes(sizes.blob_bytes()), limit)),
            ])
        };
        Self {
            contents: [
                (Fork::Electra, contents(1)),
                (Fork::Fulu, contents(sizes.cells_per_blob())),
            ],
            full,
            blinded: block(blinded_body.clone()),
            full_body,
            blinded_body,
            proofs_per_blob: sizes.cells_per_blob(),
        }
    }

    fn contents(&self, fork: Fork) -> Result<&Schema, BlockError> {
        let found = self.contents.iter().find(|(one, _)| *one == fork);
        found
            .map(|(_, schema)| schema)
            .ok_or(BlockError::Fork(fork.name()))
    }

    /// A block from its SSZ: `BeaconBlock` or `BlindedBeaconBlock`. Hashes all of it: for a large one some
    /// milliseconds.
    ///
    /// # Errors
    /// [`BlockError`] for anything but the one encoding of a block.
    pub fn block(&self, fork: Fork, blinded: bool, ssz: Vec<u8>) -> Result<Block, BlockError> {
        self.contents(fork)?;
        self.read_block(fork, blinded, ssz)
            .map_err(|error| BlockError::Schema {
                fork: fork.name(),
                error,
            })
    }

    fn read_block(&self, fork: Fork, blinded: bool, ssz: Vec<u8>) -> Result<Block, SszError> {
        let (schema, body_schema) = if blinded {
            (&self.blinded, &self.blinded_body)
        } else {
            (&self.full, &self.full_body)
        };
        let (_, body) = schema.field(&ssz, "body")?;
        let payload = if blinded {
            "execution_payload_header"
        } else {
            "execution_payload"
        };
        let (payload_schema, payload) = body_schema.field(body, payload)?;
        let (commitments_schema, commitments) = body_schema.field(body, "blob_kzg_commitments")?;
        Ok(Block {
            fork,
            blinded,
            header: BeaconBlockHeader {
                slot: number(schema, &ssz, "slot")?,
                proposer_index: number(schema, &ssz, "proposer_index")?,
                parent_root: array(schema, &ssz, "parent_root")?,
                state_root: array(schema, &ssz, "state_root")?,
                body_root: body_schema.root(body)?,
            },
            randao_reveal: array(body_schema, body, "randao_reveal")?,
            graffiti: array(body_schema, body, "graffiti")?,
            fee_recipient: array(payload_schema, payload, "fee_recipient")?,
            gas_limit: number(payload_schema, payload, "gas_limit")?,
            timestamp: number(payload_schema, payload, "timestamp")?,
            parent_hash: array(payload_schema, payload, "parent_hash")?,
            block_hash: array(payload_schema, payload, "block_hash")?,
            commitments: commitments_schema.elements(commitments)?.len(),
            ssz,
        })
    }

    /// A block with its blobs and proofs, as nodes produce it and operators pass it on: SSZ `BlockContents`.
    ///
    /// # Errors
    /// [`BlockError`] for anything but block contents whose counts fit together.
    pub fn block_with_blobs(&self, fork: Fork, ssz: &[u8]) -> Result<(Block, Blobs), BlockError> {
        let schema = self.contents(fork)?;
        let [block, proofs, blobs] = contents_parts(schema, ssz).map_err(|error| BlockError::Schema {
            fork: fork.name(),
            error,
        })?;
        let block = self.block(fork, false, block.to_vec())?;
        let blobs = Blobs {
            proofs: proofs.to_vec(),
            blobs: blobs.to_vec(),
        };
        self.belongs(&block, &blobs)?;
        Ok((block, blobs))
    }

    /// Whether blobs and proofs are as many as a full block has commitments for. Not whether they are right: that
    /// is for the network to find.
    ///
    /// # Errors
    /// [`BlockError::Blobs`].
    pub fn belongs(&self, block: &Block, blobs: &Blobs) -> Result<(), BlockError> {
        let schema = self.contents(block.fork)?;
        let count = |name: &str, bytes: &[u8]| match schema {
            Schema::Container(fields) => fields
                .iter()
                .find(|(field, _)| *field == name)
                .and_then(|(_, list)| list.elements(bytes).ok())
                .map(|elements| elements.len()),
            _ => None,
        };
        let (found, proofs) = (count("blobs", &blobs.blobs), count("kzg_proofs", &blobs.proofs));
        let each = if block.fork >= Fork::Fulu {
            self.proofs_per_blob
        } else {
            1
        };
        if found == Some(block.commitments) && proofs == block.commitments.checked_mul(each) {
            return Ok(());
        }
        Err(BlockError::Blobs {
            commitments: block.commitments,
            blobs: found.unwrap_or(usize::MAX),
            proofs: proofs.unwrap_or(usize::MAX),
        })
    }

    /// What a node produced, from its SSZ: a full block with its blobs, or a blinded one without. Which of them it is shows in
    /// the bytes: contents begin with an offset, a block with its slot, and nothing is the encoding of both.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn produced_ssz(&self, fork: Fork, ssz: Vec<u8>) -> Result<(Block, Option<Blobs>), BlockError> {
        let no_contents = match self.block_with_blobs(fork, &ssz) {
            Ok((block, blobs)) => return Ok((block, Some(blobs))),
            Err(error) => error,
        };
        let begins_as_contents = ssz.starts_with(&CONTENTS_START);
        match self.block(fork, true, ssz) {
            Ok(block) => Ok((block, None)),
            // What it comes nearer to says what is wrong with it.
            Err(_) if begins_as_contents => Err(no_contents),
            Err(error) => Err(error),
        }
    }

    /// What a node produced, from its JSON: which kind of block it is shows in its fields.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn produced_json(&self, fork: Fork, value: &Value) -> Result<(Block, Option<Blobs>), BlockError> {
        let contents = self.contents(fork)?;
        let blinded = value.get("block").is_none();
        let schema = if blinded { &self.blinded } else { contents };
        let ssz = schema
            .from_json("block", value)
            .map_err(|error| BlockError::Schema {
                fork: fork.name(),
                error,
            })?;
        if blinded {
            return Ok((self.block(fork, true, ssz)?, None));
        }
        let (block, blobs) = self.block_with_blobs(fork, &ssz)?;
        Ok((block, Some(blobs)))
    }

    /// A block of the chain from its SSZ, without its signature, which is not verified: `SignedBeaconBlock` or
    /// `SignedBlindedBeaconBlock`. `fork_of` tells the fork of a slot.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn signed_block_ssz(
        &self,
        blinded: bool,
        ssz: &[u8],
        fork_of: impl Fn(u64) -> Option<Fork>,
    ) -> Result<Block, BlockError> {
        let signed = signed(if blinded { &self.blinded } else { &self.full }.clone());
        let error = |error| BlockError::Schema {
            fork: "unknown",
            error,
        };
        let (schema, message) = signed.field(ssz, "message").map_err(error)?;
        let slot = number(schema, message, "slot").map_err(error)?;
        let fork = fork_of(slot).ok_or(BlockError::Fork("unknown"))?;
        self.block(fork, blinded, message.to_vec())
    }

    /// The same from its JSON.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn signed_block_json(
        &self,
        blinded: bool,
        value: &Value,
        fork_of: impl Fn(u64) -> Option<Fork>,
    ) -> Result<Block, BlockError> {
        let signed = signed(if blinded { &self.blinded } else { &self.full }.clone());
        let ssz = signed
            .from_json("block", value)
            .map_err(|error| BlockError::Schema {
                fork: "unknown",
                error,
            })?;
        self.signed_block_ssz(blinded, &ssz, fork_of)
    }

    /// A full block with its blobs in SSZ, to be passed on: `BlockContents`.
    pub fn contents_ssz(block: &Block, blobs: &Blobs) -> Vec<u8> {
        join(&[(false, &block.ssz), (false, &blobs.proofs), (false, &blobs.blobs)])
    }

    /// What is published, in SSZ: `SignedBlockContents` or `SignedBlindedBeaconBlock`.
    pub fn signed_ssz(block: &Block, blobs: Option<&Blobs>, signature: &SignatureBytes) -> Vec<u8> {
        let signed = join(&[(false, &block.ssz[..]), (true, &signature[..])]);
        match blobs {
            Some(blobs) if !block.blinded => {
                join(&[(false, &signed), (false, &blobs.proofs), (false, &blobs.blobs)])
            }
            _ => signed,
        }
    }

    /// What is published, in JSON, for nodes that take no SSZ.
    ///
    /// # Errors
    /// [`BlockError`] when the block or its blobs do not come from here.
    pub fn signed_json(
        &self,
        block: &Block,
        blobs: Option<&Blobs>,
        signature: &SignatureBytes,
    ) -> Result<Value, BlockError> {
        let write = || {
            if block.blinded {
                let message = self.blinded.to_json(&block.ssz)?;
                return Ok(json!({ "message": message, "signature": hex_text(signature) }));
            }
            let nothing = Blobs::default();
            let schema = self.contents(block.fork).unwrap_or(&self.full);
            let contents = schema.to_json(&Self::contents_ssz(block, blobs.unwrap_or(&nothing)))?;
            let part = |name: &str| contents.get(name).cloned().unwrap_or_default();
            let signed = json!({ "message": part("block"), "signature": hex_text(signature) });
            Ok(json!({ "signed_block": signed, "kzg_proofs": part("kzg_proofs"), "blobs": part("blobs") }))
        };
        write().map_err(|error| BlockError::Schema {
            fork: block.fork.name(),
            error,
        })
    }
}

impl Block {
    /// The block's root, 32 bytes: the same blinded and full.
    pub fn root(&self) -> Hash {
        self.header.root()
    }
}

/// The block, the proofs and the blobs of block contents.
fn contents_parts<'a>(schema: &'a Schema, ssz: &'a [u8]) -> Result<[&'a [u8]; 3], SszError> {
    schema.check(ssz)?;
    let field = |name| schema.field(ssz, name).map(|(_, bytes)| bytes);
    Ok([field("block")?, field("kzg_proofs")?, field("blobs")?])
}

fn array<const N: usize>(schema: &Schema, bytes: &[u8], name: &str) -> Result<[u8; N], SszError> {
    let (_, value) = schema.field(bytes, name)?;
    value.try_into().map_err(|_| SszError::Length)
}

fn number(schema: &Schema, bytes: &[u8], name: &str) -> Result<u64, SszError> {
    Ok(u64::from_le_bytes(array(schema, bytes, name)?))
}

fn block(body: Schema) -> Schema {
    Schema::Container(vec![
        ("slot", Schema::Number),
        ("proposer_index", Schema::Number),
        ("parent_root", Schema::Bytes(32)),
        ("state_root", Schema::Bytes(32)),
        ("body", body),
    ])
}

fn signed(message: Schema) -> Schema {
    Schema::Container(vec![("message", message), ("signature", Schema::Bytes(96))])
}

/// `BeaconBlockBody` and `BlindedBeaconBlockBody` of Electra; Fulu left them as they are.
fn body(sizes: &Sizes, blinded: bool) -> Schema {
    let payload = if blinded {
        ("execution_payload_header", payload(sizes, true))
    } else {
        ("execution_payload", payload(sizes, false))
    };
    Schema::Container(vec![
        ("randao_reveal", Schema::Bytes(96)),
        (
            "eth1_data",
            Schema::Container(vec![
                ("deposit_root", Schema::Bytes(32)),
                ("deposit_count", Schema::Number),
                ("block_hash", Schema::Bytes(32)),
            ]),
        ),
        ("graffiti", Schema::Bytes(32)),
        (
            "proposer_slashings",
            Schema::list(proposer_slashing(), sizes.max_proposer_slashings),
        ),
        (
            "attester_slashings",
            Schema::list(attester_slashing(sizes), sizes.max_attester_slashings_electra),
        ),
        (
            "attestations",
            Schema::list(attestation(sizes), sizes.max_attestations_electra),
        ),
        ("deposits", Schema::list(deposit(), sizes.max_deposits)),
        (
            "voluntary_exits",
            Schema::list(voluntary_exit(), sizes.max_voluntary_exits),
        ),
        (
            "sync_aggregate",
            Schema::Container(vec![
                (
                    "sync_committee_bits",
                    Schema::Bitvector(sizes.sync_committee_size),
                ),
                ("sync_committee_signature", Schema::Bytes(96)),
            ]),
        ),
        payload,
        (
            "bls_to_execution_changes",
            Schema::list(credential_change(), sizes.max_bls_to_execution_changes),
        ),
        (
            "blob_kzg_commitments",
            Schema::list(Schema::Bytes(48), sizes.max_blob_commitments_per_block),
        ),
        ("execution_requests", execution_requests(sizes)),
    ])
}

fn payload(sizes: &Sizes, header: bool) -> Schema {
    let mut fields = vec![
        ("parent_hash", Schema::Bytes(32)),
        ("fee_recipient", Schema::Bytes(20)),
        ("state_root", Schema::Bytes(32)),
        ("receipts_root", Schema::Bytes(32)),
        ("logs_bloom", Schema::Bytes(sizes.bytes_per_logs_bloom)),
        ("prev_randao", Schema::Bytes(32)),
        ("block_number", Schema::Number),
        ("gas_limit", Schema::Number),
        ("gas_used", Schema::Number),
        ("timestamp", Schema::Number),
        ("extra_data", Schema::ByteList(sizes.max_extra_data_bytes)),
        ("base_fee_per_gas", Schema::Number256),
        ("block_hash", Schema::Bytes(32)),
    ];
    if header {
        fields.push(("transactions_root", Schema::Bytes(32)));
        fields.push(("withdrawals_root", Schema::Bytes(32)));
    } else {
        let withdrawal = Schema::Container(vec![
            ("index", Schema::Number),
            ("validator_index", Schema::Number),
            ("address", Schema::Bytes(20)),
            ("amount", Schema::Number),
        ]);
        let transaction = Schema::ByteList(sizes.max_bytes_per_transaction);
        fields.push((
            "transactions",
            Schema::list(transaction, sizes.max_transactions_per_payload),
        ));
        fields.push((
            "withdrawals",
            Schema::list(withdrawal, sizes.max_withdrawals_per_payload),
        ));
    }
    fields.push(("blob_gas_used", Schema::Number));
    fields.push(("excess_blob_gas", Schema::Number));
    Schema::Container(fields)
}

fn proposer_slashing() -> Schema {
    let header = || {
        signed(Schema::Container(vec![
            ("slot", Schema::Number),
            ("proposer_index", Schema::Number),
            ("parent_root", Schema::Bytes(32)),
            ("state_root", Schema::Bytes(32)),
            ("body_root", Schema::Bytes(32)),
        ]))
    };
    Schema::Container(vec![("signed_header_1", header()), ("signed_header_2", header())])
}

fn attestation_data() -> Schema {
    let checkpoint = || Schema::Container(vec![("epoch", Schema::Number), ("root", Schema::Bytes(32))]);
    Schema::Container(vec![
        ("slot", Schema::Number),
        ("index", Schema::Number),
        ("beacon_block_root", Schema::Bytes(32)),
        ("source", checkpoint()),
        ("target", checkpoint()),
    ])
}

fn attester_slashing(sizes: &Sizes) -> Schema {
    let indexed = || {
        Schema::Container(vec![
            (
                "attesting_indices",
                Schema::list(Schema::Number, sizes.max_attesters_per_slot()),
            ),
            ("data", attestation_data()),
            ("signature", Schema::Bytes(96)),
        ])
    };
    Schema::Container(vec![("attestation_1", indexed()), ("attestation_2", indexed())])
}

fn attestation(sizes: &Sizes) -> Schema {
    Schema::Container(vec![
        (
            "aggregation_bits",
            Schema::Bitlist(sizes.max_attesters_per_slot()),
        ),
        ("data", attestation_data()),
        ("signature", Schema::Bytes(96)),
        ("committee_bits", Schema::Bitvector(sizes.max_committees_per_slot)),
    ])
}

fn deposit() -> Schema {
    Schema::Container(vec![
        (
            "proof",
            Schema::Vector(Box::new(Schema::Bytes(32)), DEPOSIT_PROOF),
        ),
        (
            "data",
            Schema::Container(vec![
                ("pubkey", Schema::Bytes(48)),
                ("withdrawal_credentials", Schema::Bytes(32)),
                ("amount", Schema::Number),
                ("signature", Schema::Bytes(96)),
            ]),
        ),
    ])
}

fn voluntary_exit() -> Schema {
    signed(Schema::Container(vec![
        ("epoch", Schema::Number),
        ("validator_index", Schema::Number),
    ]))
}

fn credential_change() -> Schema {
    signed(Schema::Container(vec![
        ("validator_index", Schema::Number),
        ("from_bls_pubkey", Schema::Bytes(48)),
        ("to_execution_address", Schema::Bytes(20)),
    ]))
}

fn execution_requests(sizes: &Sizes) -> Schema {
    let deposit = Schema::Container(vec![
        ("pubkey", Schema::Bytes(48)),
        ("withdrawal_credentials", Schema::Bytes(32)),
        ("amount", Schema::Number),
        ("signature", Schema::Bytes(96)),
        ("index", Schema::Number),
    ]);
    let withdrawal = Schema::Container(vec![
        ("source_address", Schema::Bytes(20)),
        ("validator_pubkey", Schema::Bytes(48)),
        ("amount", Schema::Number),
    ]);
    let consolidation = Schema::Container(vec![
        ("source_address", Schema::Bytes(20)),
        ("source_pubkey", Schema::Bytes(48)),
        ("target_pubkey", Schema::Bytes(48)),
    ]);
    Schema::Container(vec![
        (
            "deposits",
            Schema::list(deposit, sizes.max_deposit_requests_per_payload),
        ),
        (
            "withdrawals",
            Schema::list(withdrawal, sizes.max_withdrawal_requests_per_payload),
        ),
        (
            "consolidations",
            Schema::list(consolidation, sizes.max_consolidation_requests_per_payload),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{unhex, vectors};
    use conclave_crypto::hash::sha256;

    const FORKS: [Fork; 2] = [Fork::Electra, Fork::Fulu];

    fn schemas(preset: &str) -> BlockSchemas {
        BlockSchemas::new(&Sizes::of_preset(preset).unwrap())
    }

    /// As many blobs and proofs as the vectors' contents have: one blob of 0x5a, proof number i is 48 bytes i.
    fn blobs(fork: Fork) -> Blobs {
        let proofs = if fork == Fork::Fulu { 128_u8 } else { 1 };
        Blobs {
            proofs: (0..proofs).flat_map(|i| [i; 48]).collect(),
            blobs: vec![0x5a; 131_072],
        }
    }

    #[test]
    fn a_block_has_the_root_that_others_compute_full_and_blinded() {
        for preset in ["minimal", "mainnet"] {
            let (schemas, vectors) = (schemas(preset), vectors(preset));
            for fork in FORKS {
                let vector = &vectors["blocks"][fork.name()];
                let full = schemas.block(fork, false, unhex(&vector["full"]["ssz"])).unwrap();
                assert_eq!(full.root().to_vec(), unhex(&vector["full"]["root"]));
                assert_eq!(full.header.body_root.to_vec(), unhex(&vector["body_root"]));
                let blinded = schemas
                    .block(fork, true, unhex(&vector["blinded"]["ssz"]))
                    .unwrap();
                assert_eq!(blinded.header, full.header);
                assert_eq!(blinded.root().to_vec(), unhex(&vector["blinded"]["root"]));
                assert_eq!(
                    (blinded.fee_recipient, blinded.gas_limit, blinded.commitments),
                    (full.fee_recipient, full.gas_limit, 2)
                );
                let empty = schemas
                    .block(fork, false, unhex(&vector["empty"]["ssz"]))
                    .unwrap();
                assert_eq!(empty.root().to_vec(), unhex(&vector["empty"]["root"]));
                // One is not taken for the other.
                assert!(schemas.block(fork, true, full.ssz.clone()).is_err());
                assert!(schemas.block(fork, false, blinded.ssz.clone()).is_err());
            }
            let full = &vectors["blocks"]["fulu"]["full"];
            let block = schemas.block(Fork::Fulu, false, unhex(&full["ssz"])).unwrap();
            let body = &full["json"]["body"];
            assert_eq!(block.randao_reveal.to_vec(), unhex(&body["randao_reveal"]));
            assert_eq!(block.graffiti.to_vec(), unhex(&body["graffiti"]));
            let payload = &body["execution_payload"];
            assert_eq!(payload["timestamp"], block.timestamp.to_string());
            assert_eq!(block.parent_hash.to_vec(), unhex(&payload["parent_hash"]));
            assert_eq!(block.block_hash.to_vec(), unhex(&payload["block_hash"]));
            assert_eq!(block.fee_recipient.to_vec(), unhex(&payload["fee_recipient"]));
            assert_eq!(payload["gas_limit"], block.gas_limit.to_string());
            assert_eq!(full["json"]["slot"], block.header.slot.to_string());
            let old = schemas.block(Fork::Deneb, false, block.ssz.clone());
            assert_eq!(old, Err(BlockError::Fork("deneb")));
        }
    }

    #[test]
    fn json_and_ssz_are_the_same_block() {
        for preset in ["minimal", "mainnet"] {
            let (schemas, vectors) = (schemas(preset), vectors(preset));
            // Addresses may be written with a checksum; ours are in lower case.
            let text = vectors["blocks"]["fulu"].to_string().to_lowercase();
            let vector: &Value = &serde_json::from_str(&text).unwrap();
            for (key, schema) in [("full", &schemas.full), ("blinded", &schemas.blinded)] {
                let (json, ssz) = (&vector[key]["json"], unhex(&vector[key]["ssz"]));
                assert!(schema.from_json("block", json).unwrap() == ssz, "{preset} {key}");
                assert!(schema.to_json(&ssz).unwrap() == *json, "{preset} {key}");
                let checksummed = &vectors["blocks"]["fulu"][key]["json"];
                assert!(
                    schema.from_json("block", checksummed).unwrap() == ssz,
                    "{preset} {key}"
                );
            }
            let (block, none) = schemas
                .produced_json(Fork::Fulu, &vector["blinded"]["json"])
                .unwrap();
            assert!(none.is_none() && block.blinded);
            let signature = unhex(&vector["signature"]).try_into().unwrap();
            let signed = schemas.signed_json(&block, None, &signature).unwrap();
            assert!(signed["message"] == vector["blinded"]["json"]);
            assert_eq!(signed["signature"], vector["signature"]);
        }
    }

    #[test]
    fn what_is_published_is_what_others_would_publish() {
        for preset in ["minimal", "mainnet"] {
            let (schemas, vectors) = (schemas(preset), vectors(preset));
            for fork in FORKS {
                let vector = &vectors["blocks"][fork.name()];
                let signature = unhex(&vector["signature"]).try_into().unwrap();
                let digest = |bytes: &[u8]| hex::encode(sha256(&[bytes]));
                let blinded = schemas
                    .block(fork, true, unhex(&vector["blinded"]["ssz"]))
                    .unwrap();
                let signed = BlockSchemas::signed_ssz(&blinded, None, &signature);
                assert_eq!(digest(&signed), vector["signed_blinded_sha256"]);

                let full = schemas.block(fork, false, unhex(&vector["full"]["ssz"])).unwrap();
                let blobs = blobs(fork);
                let contents = BlockSchemas::contents_ssz(&full, &blobs);
                assert_eq!(digest(&contents), vector["contents_sha256"]);
                let signed = BlockSchemas::signed_ssz(&full, Some(&blobs), &signature);
                assert_eq!(digest(&signed), vector["signed_contents_sha256"]);
                let json = schemas.signed_json(&full, Some(&blobs), &signature).unwrap();
                assert_eq!(json["signed_block"]["signature"], vector["signature"]);
                assert_eq!(json["blobs"].as_array().unwrap().len(), 1);
            }
        }
    }

    #[test]
    fn a_block_of_the_chain_is_read_without_its_signature() {
        let (schemas, vectors) = (schemas("minimal"), vectors("minimal"));
        let vector = &vectors["blocks"]["fulu"];
        for (key, is_blinded) in [("full", false), ("blinded", true)] {
            let ssz = unhex(&vector[key]["ssz"]);
            let block = schemas.block(Fork::Fulu, is_blinded, ssz).unwrap();
            let slot = block.header.slot;
            let fork_of = |of: u64| (of == slot).then_some(Fork::Fulu);
            let signed = join(&[(false, &block.ssz[..]), (true, &[6; 96][..])]);
            let read = schemas.signed_block_ssz(is_blinded, &signed, fork_of);
            assert_eq!(read.as_ref(), Ok(&block));
            let json = json!({ "message": vector[key]["json"], "signature": vector["signature"] });
            assert_eq!(schemas.signed_block_json(is_blinded, &json, fork_of), read);
            let none = schemas.signed_block_ssz(is_blinded, &signed, |_| None);
            assert_eq!(none, Err(BlockError::Fork("unknown")));
            for end in [0, 3, 4, 99, 100, 108, signed.len() - 1] {
                let cut = schemas.signed_block_ssz(is_blinded, &signed[..end], fork_of);
                assert!(cut.is_err(), "{end}");
            }
            let other = schemas.signed_block_ssz(!is_blinded, &signed, fork_of);
            assert!(other.is_err());
        }
    }

    #[test]
    fn blobs_and_proofs_are_as_many_as_commitments() {
        let schemas = schemas("minimal");
        let vectors = vectors("minimal");
        for fork in FORKS {
            let ssz = unhex(&vectors["blocks"][fork.name()]["full"]["ssz"]);
            let block = schemas.block(fork, false, ssz).unwrap();
            let one = blobs(fork);
            // It has two commitments.
            let error = BlockError::Blobs {
                commitments: 2,
                blobs: 1,
                proofs: if fork == Fork::Fulu { 128 } else { 1 },
            };
            let contents = BlockSchemas::contents_ssz(&block, &one);
            assert_eq!(schemas.block_with_blobs(fork, &contents), Err(error));
            let two = Blobs {
                proofs: one.proofs.repeat(2),
                blobs: one.blobs.repeat(2),
            };
            let contents = BlockSchemas::contents_ssz(&block, &two);
            let (read, blobs) = schemas.block_with_blobs(fork, &contents).unwrap();
            assert_eq!((&read, &blobs), (&block, &two));
            let schema = schemas.contents(fork).unwrap();
            let json = schema.to_json(&contents).unwrap();
            let (read, blobs) = schemas.produced_json(fork, &json).unwrap();
            assert_eq!((&read, &blobs), (&block, &Some(two)));
            for end in [0, 3, 11, 12, 100, contents.len() - 1] {
                assert!(schemas.block_with_blobs(fork, &contents[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn a_changed_byte_is_another_block_or_none() {
        let schemas = schemas("minimal");
        for key in ["full", "blinded"] {
            let ssz = unhex(&vectors("minimal")["blocks"]["fulu"][key]["ssz"]);
            let blinded = key == "blinded";
            let block = schemas.block(Fork::Fulu, blinded, ssz.clone()).unwrap();
            for place in (0..ssz.len()).step_by(7) {
                let mut other = ssz.clone();
                other[place] ^= 1;
                if let Ok(other) = schemas.block(Fork::Fulu, blinded, other) {
                    assert_ne!(other.root(), block.root(), "{place}");
                }
                assert!(schemas.block(Fork::Fulu, blinded, ssz[..place].to_vec()).is_err());
            }
        }
    }

    #[test]
    fn presets_are_not_mixed() {
        for (preset, other) in [("minimal", "mainnet"), ("mainnet", "minimal")] {
            let ssz = unhex(&vectors(preset)["blocks"]["fulu"]["full"]["ssz"]);
            assert!(schemas(other).block(Fork::Fulu, false, ssz).is_err());
        }
    }
}
