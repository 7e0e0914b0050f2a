package rows

import "fmt"

// AddressError says that the URL of a row's database, or its table, cannot be
// used as it is written.
type AddressError struct {
	Address     string // the URL without its password, or the table
	Why, Remedy string
}

func (e *AddressError) Error() string { return e.Address + ": " + e.Why }

// NoRowError says that there is no such row.
type NoRowError struct{ Row string }

func (e *NoRowError) Error() string { return "there is no " + e.Row }

// ManyRowsError says that several rows match, so it is not known which one the
// service takes.
type ManyRowsError struct {
	Row   string
	Count int
}

func (e *ManyRowsError) Error() string { return fmt.Sprintf("there are %d times %s", e.Count, e.Row) }

// ChangedError says that somebody else changed the row meanwhile. It was left
// as it is.
type ChangedError struct{ Row string }

func (e *ChangedError) Error() string { return e.Row + " was changed by somebody else meanwhile" }

// LockedError says that somebody else holds a lock on the database for longer than it
// was waited for.
type LockedError struct{ Says string }

func (e *LockedError) Error() string { return e.Says }

// TooLongError says that a column cannot hold what should go into it.
type TooLongError struct {
	Column        string
	Length, Limit int // in bytes
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("%d bytes are too long for column %s, which holds %d", e.Length, e.Column, e.Limit)
}
