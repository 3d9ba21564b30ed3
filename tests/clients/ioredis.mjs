// ioredis in its default settings: node ioredis.mjs PORT
import { Redis } from "ioredis";
import { session } from "./ioredis_like.mjs";

await session(Redis, Number(process.argv[2]));
