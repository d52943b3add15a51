// The judges, in the order in which they speak.

import * as folder from "../judges/folder.mjs";
import * as enr from "../judges/enr.mjs";
import * as hashes from "../judges/hashes.mjs";
import * as keystores from "../judges/keystores.mjs";
import * as deposits from "../judges/deposits.mjs";
import * as ethstaker from "../judges/ethstaker.mjs";
import { nodes, wallets } from "../judges/wallets.mjs";
import { thresholdJudges } from "../judges/threshold.mjs";
import { blstBackend, herumiBackend } from "./backends.mjs";

/** A judge is `{ name, subjects(cluster, context) }`; a subject is `{ file, key?, check }`. `check` throws to refuse. */
export const judges = [
  folder,
  enr,
  hashes,
  wallets,
  nodes,
  ...thresholdJudges(herumiBackend),
  ...thresholdJudges(blstBackend),
  deposits,
  ethstaker.deposits,
  keystores,
  ethstaker.keystores,
];

/** Asks one judge about one cluster; yields `{ file, ok, why, note }`. Subjects with equal keys are judged once. */
export async function* verdicts(judge, cluster, context) {
  const known = new Map();
  let subjects;
  try {
    subjects = judge.subjects(cluster, context);
  } catch (error) {
    yield { file: cluster.name, ok: false, why: firstLine(error) };
    return;
  }
  for (const { file, key, check } of subjects) {
    if (key === undefined || !known.has(key)) {
      const verdict = await ask(check);
      if (key !== undefined) known.set(key, verdict);
      yield { file, ...verdict };
    } else {
      yield { file, ...known.get(key) };
    }
  }
}

async function ask(check) {
  try {
    const note = await check();
    return { ok: true, note: typeof note === "string" ? note : "" };
  } catch (error) {
    return { ok: false, why: firstLine(error) };
  }
}

const firstLine = (error) => String(error?.message ?? error).split("\n")[0] || "refused without a reason";
