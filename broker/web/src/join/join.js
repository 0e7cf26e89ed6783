import "./join.css";
