package deployers

// RowOptions is implemented by a service's options that can name a row of a
// database, into which the pair goes in place of files.
type RowOptions interface {
	// RowKeys returns what the keys of the block hold about the row.
	RowKeys() RowKeys
}

// RowKeys is what a service's options say of a row, by keys of their block.
type RowKeys struct {
	DatabaseKey string
	Database    DatabaseURL // empty: the pair goes into files
	DomainKey   string
	Domain      string // names the row; may hold {lineage}
	Table       string // that the row is in
	Type        int    // the row's column type

	// FilesWhere says where files are right, in a clause.
	FilesWhere string
}

// MeetingOptions is implemented by a service's options that name a control
// channel which is met in the file system.
type MeetingOptions interface {
	// Meeting returns the directories where certlatch and the service meet: that
	// of the control channel, and that of the replies.
	Meeting() []string
}

// ProgramOptions is implemented by a service's options that name its program.
type ProgramOptions interface {
	// Program returns the name or path of the program.
	Program() string
}
