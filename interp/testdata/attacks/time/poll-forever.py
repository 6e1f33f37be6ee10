# poll-forever {"want": "timeout_wall"}
import select; select.select([],[],[])
