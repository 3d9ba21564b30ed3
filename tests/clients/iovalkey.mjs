// iovalkey in its default settings: node iovalkey.mjs PORT
import { Redis } from "iovalkey";
import { session } from "./ioredis_like.mjs";

await session(Redis, Number(process.argv[2]));
