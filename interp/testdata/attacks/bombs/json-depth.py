# json-depth {"want": "exc:RecursionError|exc:MemoryError|crashed:SIGSEGV|exc:JSONDecodeError"}
import json; json.loads('['*200000)
