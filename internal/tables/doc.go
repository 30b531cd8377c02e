// Package tables says what a whole comparison of nodes compares: of each table that
// they exchange the columns and the rows that every direction carries.
//
// It asks the engine what is replicated, and reads no row.
package tables
