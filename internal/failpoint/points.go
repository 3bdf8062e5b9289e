// Package failpoint names the places at which the crash tests end the process: between the steps of every change that
// must survive one. In a release Hit is an empty function and nothing of the package is left in the program; built with
// the tag failpoint, the variable LEADLOOM_TEST_FAILPOINT arms points ("crm.called=3" kills at the third time, several
// with commas between), and the process ends there as kill -9 ends it.
package failpoint

// Variable arms points in a build with the tag.
const Variable = "LEADLOOM_TEST_FAILPOINT"

// TargetsVariable names, in a build with the tag, loopback addresses that workflows and connections may call.
const TargetsVariable = "LEADLOOM_TEST_TARGETS"

// Killed begins the line that a process prints on standard error just before it ends at a point; the name follows.
const Killed = "failpoint: killed at "

// Name of a point: its noun, then what has just happened there.
type Name string

// The points. Each lies in the code once; a test holds this list against the sources and test/crash kills at each.
const (
	BatchMember  Name = "store.batch_member"  // SQLite: one request of a group commit is done, the next is not
	BeforeCommit Name = "store.before_commit" // everything of a transaction is written, its commit is not
	AfterCommit  Name = "store.after_commit"  // committed, nobody has been told
	BatchAnswer  Name = "store.batch_answer"  // SQLite: one request of a committed batch was told, the next was not
	BeforeReply  Name = "http.before_reply"   // the service is done, the reply is not begun

	JobDone       Name = "queue.job_done"        // a job's function has returned, the queue has not noted it
	PeriodicQueue Name = "queue.periodic"        // periodic work is planned, not committed
	RunWalked     Name = "run.walked"            // a run has walked its pure steps, nothing of it is stored
	CallBegun     Name = "step.call_begun"       // a step's intent is stored as started, its call is not made
	CallDone      Name = "step.call_done"        // the host has answered, the outcome is not stored
	TimerFired    Name = "timer.fired"           // one timer of a claim has fired, the others have not
	BulkRows      Name = "bulk.rows"             // a chunk's leads are written, its results are not
	BulkChunk     Name = "bulk.chunk"            // a chunk is committed, the next is not begun
	SealedBlock   Name = "events.sealed_block"   // blocks are written, the mark behind them is not
	MailOpened    Name = "mail.opened"           // a single message is marked as in its dialogue, which is not begun
	MailAccepted  Name = "mail.accepted"         // the relay has accepted it, which is not recorded
	PreparedRows  Name = "campaign.rows"         // a chunk of an audience is written, its cursor is not
	PreparedChunk Name = "campaign.chunk"        // a chunk is committed, the next is not begun
	Claimed       Name = "campaign.claimed"      // rows are claimed, none was handed over
	RowOpened     Name = "campaign.row_opened"   // a row is marked as in its dialogue, which is not begun
	RowAccepted   Name = "campaign.row_accepted" // the relay has accepted it, which is not recorded
	MarkedChunk   Name = "crm.marked_chunk"      // a chunk of leads is marked for a connection, not committed
	Called        Name = "crm.called"            // the CRM has answered a batch, no link is recorded
	Recorded      Name = "crm.recorded"          // a batch's links are committed, the drain is not over

	MigrationPart  Name = "migrate.part"     // a statement of a schema step is done, the step is not
	MigrationStep  Name = "migrate.step"     // a schema step is committed, the next is not begun
	MigrationQueue Name = "migrate.queue"    // our tables are there, the queue's are not
	BackupPart     Name = "backup.part"      // a piece of the database is in the file
	BackupWritten  Name = "backup.written"   // the file is whole, not synced and not read back
	BackupVerified Name = "backup.verified"  // read back, without its name
	BackupNamed    Name = "backup.named"     // it has its name, its folder is not synced
	RestorePart    Name = "restore.part"     // a piece of the database is out of the file
	RestoreWhole   Name = "restore.whole"    // all of it, without its name or not committed
	RestoreInPlace Name = "restore.in_place" // the database is in its place, not checked yet
)

var all = []Name{BatchMember, BeforeCommit, AfterCommit, BatchAnswer, BeforeReply, JobDone, PeriodicQueue, RunWalked, CallBegun, CallDone,
	TimerFired, BulkRows, BulkChunk, SealedBlock, MailOpened, MailAccepted, PreparedRows, PreparedChunk, Claimed, RowOpened, RowAccepted,
	MarkedChunk, Called, Recorded, MigrationPart, MigrationStep, MigrationQueue, BackupPart, BackupWritten, BackupVerified, BackupNamed,
	RestorePart, RestoreWhole, RestoreInPlace}

// All lists every point.
func All() []Name { return all }
